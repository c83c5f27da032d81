"""Connections to Postgres whose waits have a limit on our side.

A server that is frozen still acknowledges packets, and does not look at its `statement_timeout`:
neither that nor keepalives would end a wait for it. So one that takes long is asked, over another
connection, whether it answers anybody: another server may have taken its place.

A wait also says again and again that it lasts. Who handles a connection to RabbitMQ in the same
thread handles it then: a broker that hears nothing for some seconds closes it.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import LiteralString

import psycopg
from psycopg.abc import RV, PQGen
from psycopg.pq import TransactionStatus

from shared.errors import Unavailable
from shared.health import Turn, unwatched

SPARE_S = 15.0
"""We wait so much longer than the server lets a statement run: its own word is the better one."""
WAIT_MAX_S = 86_400.0
"""The limit where the server has none: long work must not be ended because it is long."""
SLICE_S = 1.0
"""A wait is interrupted so often. The broker closes a connection that is silent for ten seconds."""
ASK_EVERY_S = 5.0
"""An answer that takes longer makes us ask so often whether the server answers at all."""
ASK_WITHIN_S = 5
SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
"""Answered by every server, with a byte, before it asks who one is."""
UNANSWERED_MAX = 2
"""So many questions in a row that nobody answers: one alone may come of a busy machine."""

SELECT_TIMEOUT_MS: LiteralString = """
SELECT setting
  FROM pg_settings
 WHERE name = 'statement_timeout'
"""
NO_TIMEOUT: LiteralString = "SET LOCAL statement_timeout = 0"


class LimitedConnection(psycopg.Connection):
    """Is closed, and raises `psycopg.OperationalError`, when an answer does not come in time."""

    answer_within_s: float | None = None
    """The limit of one wait; None: no limit, as in tools that a person can interrupt."""
    turn: Turn = staticmethod(unwatched)
    """Told of each wait."""
    meanwhile: Callable[[], object] = staticmethod(lambda: None)
    """Called in each slice of a wait, by the thread that waits."""

    def watch(self, turn: Turn) -> None:
        """From now on limit each wait, a little above the session's timeout, and tell `turn`."""
        self.turn, self.answer_within_s = turn, SPARE_S
        (timeout_ms,) = self.execute(SELECT_TIMEOUT_MS).fetchone() or (0,)
        self.answer_within_s = int(timeout_ms) / 1000 + SPARE_S if int(timeout_ms) else WAIT_MAX_S

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for what `gen` waits for, as psycopg does, and no longer than the limit."""
        limit_s = timeout or self.answer_within_s
        if limit_s is None:
            return super().wait(gen, interval)
        self.turn(limit_s)
        try:
            return self._wait(gen, interval, limit_s)
        finally:
            self.turn(0.0)

    def _wait(self, gen: PQGen[RV], interval: float, limit_s: float) -> RV:
        began = asked_at = time.monotonic()
        unanswered, why = 0, f"no answer in {limit_s:g} s"
        while (left_s := began + limit_s - time.monotonic()) > 0:
            try:
                return super().wait(gen, interval, min(left_s, SLICE_S, ASK_EVERY_S))
            except psycopg.OperationalError as error:
                if error.sqlstate or self.info.transaction_status != TransactionStatus.ACTIVE:
                    raise  # the server's word, or the connection is lost
            self.meanwhile()
            if left_s <= ASK_EVERY_S or time.monotonic() < asked_at + ASK_EVERY_S:
                continue
            unanswered = 0 if self._answers() else unanswered + 1
            asked_at = time.monotonic()
            if unanswered == UNANSWERED_MAX:
                why = "the server answers nobody any more"
                break
        self.close()
        raise psycopg.OperationalError(why)

    def _answers(self) -> bool:
        return is_answering(self.info.hostaddr or self.info.host, self.info.port)


def is_answering(host: str, port: int) -> bool:
    """Say whether a server says anything to a new client, be it that it takes none.

    By a socket of our own: PQping, as psycopg calls it, stops all threads until it is over.
    """
    try:
        with contextlib.ExitStack() as opened:
            if host.startswith("/"):
                asking = opened.enter_context(socket.socket(socket.AF_UNIX))
                asking.settimeout(ASK_WITHIN_S)
                asking.connect(f"{host}/.s.PGSQL.{port}")
            else:
                asking = opened.enter_context(socket.create_connection((host, port), ASK_WITHIN_S))
            asking.sendall(SSL_REQUEST)
            return bool(asking.recv(1))
    except OSError:
        return False


def meanwhile(conn: psycopg.Connection, *calls: Callable[[], object]) -> None:
    """Have `calls` made each second while an answer of `conn` is waited for, by who waits.

    `Unavailable` of theirs is left to whoever uses that server next: the answer is still wanted.
    """

    def call_each() -> None:
        for call in calls:
            with contextlib.suppress(Unavailable):
                call()

    if isinstance(conn, LimitedConnection):
        conn.meanwhile = call_each


@contextlib.contextmanager
def without_timeout(conn: psycopg.Connection) -> Iterator[None]:
    """Let statements of this transaction take as long as they need, a day at most."""
    conn.execute(NO_TIMEOUT)
    if not isinstance(conn, LimitedConnection):
        yield
        return
    usual, conn.answer_within_s = conn.answer_within_s, WAIT_MAX_S
    try:
        yield
    finally:
        conn.answer_within_s = usual
