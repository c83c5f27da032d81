"""Connections to Postgres: read-write, READ COMMITTED, with a limit on every kind of waiting.

Library errors are translated here: what the server sent, or the network did, becomes `Unavailable`.
"""

import contextlib
import re
from collections.abc import Iterator
from typing import LiteralString

import psycopg
from psycopg import IsolationLevel, errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from shared import session_settings
from shared.errors import Busy, Denied, Refusal, StatementFailed, TooMuch, TooSlow, Unavailable
from shared.health import Turn
from shared.limited_connection import LimitedConnection
from shared.settings import PostgresSettings

SERVER_VERSION_MIN = 150_000
SCHEMA_NEEDED = 9
SCHEMA_TOLERATED = SCHEMA_NEEDED + 1

CONNECT_TIMEOUT_S = 5
LIMITS = (
    "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
    " -c idle_session_timeout=0 -c jit=off"
    # The server, too, must notice that a client is gone: it holds locks for us.
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3"
    " -c tcp_user_timeout=15s"
)
"""What a DSN may change, and a role or a database may not."""
KEEPALIVE = {
    "keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}  # fmt: skip

TROUBLE = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
)
"""The server or the network is in trouble, whatever the statement was."""
DENIAL = re.compile(
    r"[^\n]*(authentication failed|no password supplied|no pg_hba.conf entry"
    r"|pg_hba.conf rejects connection|role \".*\" does not exist|is not permitted to log in"
    r"|database \".*\" does not exist|permission denied for database"
    r"|unrecognized configuration parameter|invalid value for parameter)[^\n]*"
)
"""What Postgres says to who may not log in; in another language it is taken for an outage."""
OUT_OF_TIME = (errors.QueryCanceled, errors.TransactionTimeout)
TOO_MUCH_STATES = ("40", "53200")
"""SQLSTATEs, or their beginnings, of conflicts with others and of memory that is used up. A full
disk takes nothing, however little it is."""

SELECT_ENCODING: LiteralString = "SELECT current_setting('server_encoding')"
SELECT_SCHEMA_VERSION: LiteralString = """
SELECT coalesce(max(version), 0)
  FROM schema_migration
"""
SELECT_WHERE_SOUGHT: LiteralString = """
SELECT current_database(), current_setting('search_path'),
       (SELECT string_agg(relnamespace::regnamespace::text, ' and ' ORDER BY relnamespace)
          FROM pg_class
         WHERE relname = 'schema_migration'
           AND relkind IN ('r', 'p'))
"""


@contextlib.contextmanager
def translating() -> Iterator[None]:
    """Turn all that the server sends, and trouble on the way to it, into `Unavailable`.

    `TooMuch` where less at once may succeed, `StatementFailed` for any error that is not the
    server's own trouble. An error that psycopg raised by itself is a bug of ours and passes.
    """
    try:
        yield
    except OUT_OF_TIME as e:
        raise TooSlow("postgres", detail(e)) from e
    except TROUBLE as e:
        raise _unavailable(e) from e
    except psycopg.Error as e:
        if e.sqlstate is None:
            raise
        raise StatementFailed("postgres", detail(e), e.diag.message_hint) from e


def _unavailable(error: psycopg.Error) -> Unavailable:
    if isinstance(error, errors.LockNotAvailable):
        return Busy("postgres", detail(error))
    # What is said while connecting has no SQLSTATE. libpq names user, host and port, never more.
    if error.sqlstate is None and (said := DENIAL.search(str(error))):
        return Denied("postgres", said[0].strip())
    too_much = (error.sqlstate or "").startswith(TOO_MUCH_STATES)
    return (TooMuch if too_much else Unavailable)("postgres", detail(error))


def detail(error: psycopg.Error) -> str:
    """Return the SQLSTATE and the server's sentence; not its detail, which quotes the row."""
    # The first line only: the others may quote a statement with its values.
    text = (error.diag.message_primary or str(error)).strip().splitlines()
    return f"{error.sqlstate or type(error).__name__}: {text[0] if text else ''}"


@contextlib.contextmanager
def connection(
    settings: PostgresSettings, *, application: str, options: str = "", turn: Turn | None = None
) -> Iterator[psycopg.Connection]:
    """Open a connection in autocommit mode and close it at the end; never repaired, never shared.

    `options` are further `-c name=value` settings. With `turn`, which is told of each wait, every
    wait has a limit on our side. Raises `Unavailable`, also from inside, and `Refusal` for a server
    that is too old.
    """
    conninfo = conninfo_of(settings, application, options)
    if turn:
        turn(_connecting_s(conninfo))
    with (
        translating(),
        LimitedConnection.connect(conninfo, autocommit=True, prepare_threshold=2) as conn,
    ):
        if turn:
            conn.watch(turn)
        check_version(conn.info.server_version)
        conn.isolation_level = IsolationLevel.READ_COMMITTED
        session_settings.prepare(conn)
        yield conn


def check_version(number: int) -> None:
    """Raise `Refusal` unless a server's version, as `server_version_num` has it, is new enough."""
    if number < SERVER_VERSION_MIN:
        found, needed = number // 10_000, SERVER_VERSION_MIN // 10_000
        raise Refusal(f"Postgres is version {found}; Minutebook needs {needed} or newer")


def check_schema(conn: psycopg.Connection) -> None:
    """Raise `Refusal` unless the database is in UTF-8 and its schema is one this release knows."""
    encoding = scalar(conn, SELECT_ENCODING)
    if encoding != "UTF8":
        raise Refusal(f"the database's encoding is {encoding}; Minutebook needs UTF8")
    try:
        version = int(scalar(conn, SELECT_SCHEMA_VERSION))
    except errors.UndefinedTable:
        raise Refusal(missing_schema(conn)) from None
    if version < SCHEMA_NEEDED:
        raise Refusal(
            f"schema version {version} is older than the {SCHEMA_NEEDED} this release needs:"
            " run 'python -m migrations' first"
        )
    if version > SCHEMA_TOLERATED:
        raise Refusal(
            f"schema version {version} is too new for this release, which knows up to"
            f" {SCHEMA_TOLERATED}: upgrade the services"
        )


def missing_schema(conn: psycopg.Connection) -> str:
    """Say where no table of ours was found, and where one is that the search_path leaves out."""
    database, path, elsewhere = conn.execute(SELECT_WHERE_SOUGHT).fetchone() or ("", "", "")
    says = f"no table schema_migration in the search_path ({path}) of database {database}"
    if elsewhere:
        return f"{says}: there is one in schema {elsewhere}, name it in the search_path"
    return f"{says}: run 'python -m migrations' first"


def scalar(conn: psycopg.Connection, query: LiteralString) -> str:
    """Return the one value of the one row that `query` answers, as text."""
    row = conn.execute(query).fetchone()
    if row is None:
        raise LookupError(query)
    return str(row[0])


def _connecting_s(conninfo: str) -> float:
    """Return how long it may take to connect: each host has its time."""
    given = conninfo_to_dict(conninfo)
    hosts = str(given.get("hostaddr") or given.get("host") or "").count(",") + 1
    return hosts * float(given["connect_timeout"] or CONNECT_TIMEOUT_S)


def conninfo_of(settings: PostgresSettings, application: str, options: str = "") -> str:
    """Return how to connect: as the DSN says, with our limits where it says nothing."""
    given = conninfo_to_dict(settings.postgres_dsn.get_secret_value())
    ours = {
        "application_name": f"minutebook-{application}",
        "connect_timeout": CONNECT_TIMEOUT_S,
        "target_session_attrs": "read-write",
        **KEEPALIVE,
    }
    joined = " ".join(filter(None, (LIMITS, options, str(given.pop("options", "")))))
    return make_conninfo(
        **{key: str(value) for key, value in (ours | given).items()}, options=joined
    )
