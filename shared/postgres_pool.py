"""A pool of connections to Postgres that only read: for questions that come one beside another.

Each wait has a limit. A server that is away is asked again with the next question.
"""

import contextlib
import logging
from collections.abc import Iterator

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from shared import postgres, session_settings
from shared.errors import Refusal
from shared.limited_connection import LimitedConnection
from shared.settings import PostgresSettings

OPTIONS = "-c statement_timeout=10s -c enable_seqscan=off"
ANSWER_WITHIN_S = 15.0
"""Above the statement's own limit, whose word is the better one."""
CONNECTION_WITHIN_S = 3.0
WAITING_MAX = 64
RETRY_S = 5.0
"""For so long the pool itself tries to connect; after that it does so for the next question, and
without one where so many have waited that it takes none."""
IDLE_S = 60.0

log = structlog.get_logger()


class ReadingPool:
    """Connections in autocommit mode that can change nothing; safe to use from several threads."""

    def __init__(
        self, pool: "ConnectionPool[LimitedConnection]", within_s: float = CONNECTION_WITHIN_S
    ) -> None:
        """`pool` is open; a connection is had `within_s` seconds, or not at all."""
        self._pool, self._within_s = pool, within_s

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Lend one. Raises `Unavailable`, also for what happens inside."""
        with postgres.translating(), self._pool.connection(self._within_s) as conn:
            yield conn


@contextlib.contextmanager
def opened(
    settings: PostgresSettings,
    *,
    application: str,
    size_max: int,
    options: str = OPTIONS,
    within_s: float = CONNECTION_WITHIN_S,
) -> Iterator[ReadingPool]:
    """Have a pool while inside; it connects when it is first asked."""
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())  # who asks is told
    logging.getLogger("psycopg.pool").propagate = False
    pool: ConnectionPool[LimitedConnection] = ConnectionPool(
        postgres.conninfo_of(settings, application, options),
        connection_class=LimitedConnection,
        kwargs={"autocommit": True, "prepare_threshold": 2},
        min_size=0,
        max_size=size_max,
        open=False,
        configure=_prepare,
        name=application,
        timeout=within_s,
        max_waiting=WAITING_MAX,
        max_idle=IDLE_S,
        reconnect_timeout=RETRY_S,
        reconnect_failed=_go_on,
    )
    with pool:
        yield ReadingPool(pool, within_s)


def _go_on(pool: "ConnectionPool[LimitedConnection]") -> None:
    """Connect again where too many have waited and got no answer.

    The pool counts them until there is a connection, refuses whoever comes then, and makes a
    connection only for whom it does not refuse.
    """
    if pool.get_stats().get("requests_waiting", 0) >= WAITING_MAX:
        pool.resize(1, pool.max_size)  # begins to connect
        pool.resize(0, pool.max_size)


def _prepare(conn: LimitedConnection) -> None:
    conn.answer_within_s = ANSWER_WITHIN_S
    try:
        postgres.check_version(conn.info.server_version)
        session_settings.prepare(conn)
        postgres.check_schema(conn)
    except Refusal as refusal:
        log.error("refused", reason=str(refusal))
        raise psycopg.OperationalError(str(refusal)) from refusal
    # Not by a startup option: with it libpq would take the session for one of a standby.
    conn.execute("SET default_transaction_read_only = on")
