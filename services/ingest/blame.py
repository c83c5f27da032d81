"""Whose fault an error of Postgres is: the message's, the server's, or a sequence left behind."""

from typing import LiteralString

import psycopg
from psycopg import errors

from shared import postgres

# Classes of SQLSTATE that speak of the row: data exceptions and broken constraints, and what a
# trigger of the user's raises. All others are the server's trouble or ours until a bisection shows
# that other rows go through.
FAULT_CLASSES = ("22", "23")
FAULT_STATES = frozenset({"P0001"})
# No free ids; a column of the user's that no message can fill.
NOBODYS_FAULT = frozenset({"2200H", "23502"})

# Unique indexes on the id alone, the primary key among them: a clash there means a sequence left
# behind, and is nobody's fault.
SELECT_ID_KEYS: LiteralString = """
SELECT c.relname
  FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
 WHERE i.indrelid = 'historical_transactions'::regclass
   AND i.indisunique
   AND i.indnkeyatts = 1
   AND a.attname = 'id'
"""

CHECK_AT_ONCE: LiteralString = "SET CONSTRAINTS ALL IMMEDIATE"

SELECT_PROVIDER: LiteralString = """
SELECT id
  FROM initial_data
 WHERE id = %(provider_id)s
"""


class SequenceBehind(Exception):
    """A new id clashed with one that was loaded explicitly."""


def raise_unless_bisectable(conn: psycopg.Connection, error: psycopg.Error) -> None:
    """Let trouble of the server's pass on, and a clash of primary keys be mended."""
    clash = isinstance(error, errors.UniqueViolation)
    if clash and error.diag.constraint_name in _id_keys(conn):
        raise SequenceBehind from error
    if isinstance(error, postgres.TROUBLE) or conn.closed or error.sqlstate is None:
        raise error


def is_fault(state: str | None) -> bool:
    """Say whether a SQLSTATE speaks of the row."""
    if state is None or state in NOBODYS_FAULT:
        return False
    return state[:2] in FAULT_CLASSES or state in FAULT_STATES


def words(error: psycopg.Error) -> str:
    """Return what to write beside the message."""
    # The primary message only: the detail quotes the row.
    return f"{error.sqlstate}: {error.diag.message_primary}"


def check_at_once(conn: psycopg.Connection) -> None:
    """Have deferred constraints speak at the statement that breaks them, not at the commit."""
    conn.execute(CHECK_AT_ONCE)


def provider_gone(conn: psycopg.Connection, error: psycopg.Error, provider_id: int) -> bool:
    """Say whether a row was refused because its provider went away meanwhile: then it waits."""
    if not isinstance(error, errors.ForeignKeyViolation):
        return False
    found = conn.execute(SELECT_PROVIDER, {"provider_id": provider_id}).fetchone()
    return found is None


def _id_keys(conn: psycopg.Connection) -> set[str]:
    return {name for (name,) in conn.execute(SELECT_ID_KEYS)}
