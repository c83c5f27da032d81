"""What caused an error of Postgres: a message, trouble with the server, or a sequence behind."""

from collections.abc import Callable
from typing import LiteralString

import psycopg
from psycopg import errors

# Data exceptions, broken constraints, and what a trigger of the user's raises. All other errors are
# the server's trouble, or ours, until a bisection shows that other rows go through.
FAULT_CLASSES = ("22", "23")
FAULT_STATES = frozenset({"P0001"})
# No free ids; a column of the user's that no message can fill.
NO_MESSAGES_FAULT = frozenset({"2200H", "23502"})
POSTGRES_CLASSES = (
    "00 01 02 03 08 09 0A 0B 0F 0L 0P 0Z 10 20 21 22 23 24 25 26 27 28 2B 2D 2F 34 38 39 3B 3D 3F"
    " 40 42 44 53 54 55 57 58 72 F0 HV P0 XX"
)
"""Any other class can only be raised by code of the user's."""
OUR_TABLES = ("outbox", "received_message")
"""Written by the statement that stores rows: what they refuse is never the message's fault."""

# Trouble with others, with resources or with the connection: no row is at fault.
TROUBLE_CLASSES = ("08", "25", "40", "53", "57")
TROUBLE_STATES = frozenset({"55P03"})

# Unique indexes on the id alone, the primary key among them: a clash there means that the sequence
# is behind, which is no message's fault.
SELECT_ID_KEYS: LiteralString = """
SELECT c.relname, i.indrelid::regclass::text
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
 WHERE i.indrelid IN ('historical_transactions'::regclass, 'dead_letter'::regclass)
   AND i.indisunique
   AND i.indnkeyatts = 1
   AND a.attname = 'id'
"""

CHECK_AT_ONCE: LiteralString = "SET CONSTRAINTS ALL IMMEDIATE"

SELECT_PROVIDER: LiteralString = """
SELECT xmin::text
  FROM initial_data
 WHERE id = %(provider_id)s
"""


class SequenceBehind(Exception):
    """A new id of `table` clashed with one that was loaded explicitly."""

    def __init__(self, table: str) -> None:
        """`table` is whose sequence must be advanced."""
        super().__init__(f"new ids of {table} clash")
        self.table = table


def in_savepoint(conn: psycopg.Connection, work: Callable[[], object]) -> psycopg.Error | None:
    """Do some work, or nothing: returns the error that took it back. Raises if nobody sent it."""
    try:
        with conn.transaction():
            work()
    except psycopg.Error as error:
        raise_if_lost(conn, error)
        return error
    return None


def raise_unless_bisectable(conn: psycopg.Connection, error: psycopg.Error) -> None:
    """Raise the server's trouble again, and `SequenceBehind` for a clash of ids."""
    raise_if_lost(conn, error)
    table = clashing_ids(conn, error)
    if table is not None:
        raise SequenceBehind(table) from error
    if is_trouble(error):
        raise error


def raise_if_lost(conn: psycopg.Connection, error: psycopg.Error) -> None:
    """Raise an error again if there is no connection after it, or if no server sent it."""
    if conn.closed or error.sqlstate is None:
        raise error


def clashing_ids(conn: psycopg.Connection, error: psycopg.Error) -> str | None:
    """Return the table whose sequence is behind the ids in use, if that is the error."""
    if not isinstance(error, errors.UniqueViolation):
        return None
    tables: dict[str | None, str] = dict(conn.execute(SELECT_ID_KEYS).fetchall())
    return tables.get(error.diag.constraint_name)


def is_trouble(error: psycopg.Error) -> bool:
    """Say whether an error speaks of others, of resources or of the server as a whole."""
    state = error.sqlstate or ""
    return state.startswith(TROUBLE_CLASSES) or state in TROUBLE_STATES


def is_fault(error: psycopg.Error) -> bool:
    """Say whether an error speaks of the row."""
    state = error.sqlstate
    if state is None or state in NO_MESSAGES_FAULT:
        return False
    if (error.diag.table_name or "").startswith(OUR_TABLES):
        return False
    is_of_user = state[:2] not in POSTGRES_CLASSES.split()
    return is_of_user or state[:2] in FAULT_CLASSES or state in FAULT_STATES


def check_at_once(conn: psycopg.Connection) -> None:
    """Check deferred constraints at the statement that breaks them, not at the commit."""
    conn.execute(CHECK_AT_ONCE)


def provider_gone(conn: psycopg.Connection, error: psycopg.Error, provider_id: int) -> bool:
    """Say whether a row was refused because its provider was deleted meanwhile: then it waits."""
    if not isinstance(error, errors.ForeignKeyViolation):
        return False
    return provider_version(conn, provider_id) is None


def provider_version(conn: psycopg.Connection, provider_id: int) -> str | None:
    """Return what tells a provider's row from every other one that it is or was; None if gone."""
    found = conn.execute(SELECT_PROVIDER, {"provider_id": provider_id}).fetchone()
    return found[0] if found else None
