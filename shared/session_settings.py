"""What a session of ours must have set, whatever a role, a database or a DSN would give it.

Pinned once it is open, not by startup options: those yield to libpq's environment (PGTZ and its
like), and a server refuses one that only a newer version knows.
"""

from typing import LiteralString

import psycopg

from shared.errors import StatementFailed

PINNED = {
    # How values are written and read, by us and by psycopg.
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "client_encoding": "UTF8",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    # How our statements are read, and names are quoted.
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    # What a statement sees, and what becomes of its commit.
    "default_transaction_isolation": "read committed",
    "row_security": "off",  # rows hidden by a policy must be an error, never a wrong balance
    "exit_on_error": "off",
    "synchronous_commit": "on",
}
REFUSED = {
    "session_replication_role": "replica",
    "zero_damaged_pages": "on",
    "ignore_checksum_failure": "on",
}
"""What would lose money, and only a superuser could set right."""

# A commit that waits for more than ours would stays so.
PIN: LiteralString = """
SELECT set_config(name, value, false)
  FROM unnest(%(names)s::text[], %(values)s::text[]) AS pinned (name, value)
 WHERE (name, current_setting(name)) <> ('synchronous_commit', 'remote_apply')
"""
# A limit like those in the startup options, so a DSN's stays; known from Postgres 17 on. A baseline
# or a large backlog takes its time.
LIFT_TRANSACTION_TIMEOUT: LiteralString = """
SELECT set_config(name, '0', false)
  FROM pg_settings
 WHERE name = 'transaction_timeout'
   AND source <> 'client'
"""
SELECT_REFUSED: LiteralString = """
SELECT name || ' = ' || value
  FROM unnest(%(names)s::text[], %(values)s::text[]) AS refused (name, value)
 WHERE current_setting(name) = value
"""


def prepare(conn: psycopg.Connection) -> None:
    """Make the session fit for our work. Raises `StatementFailed` for what we cannot set right."""
    pin(conn)
    conn.execute(LIFT_TRANSACTION_TIMEOUT)
    found = [one for (one,) in conn.execute(SELECT_REFUSED, _arrays(REFUSED))]
    if found:
        raise StatementFailed(
            "postgres",
            f"sessions begin with {', '.join(found)}: as a superuser, ALTER ROLE … RESET, ALTER"
            " DATABASE … RESET or ALTER SYSTEM RESET it",
        )


def pin(conn: psycopg.Connection) -> None:
    """Pin what decides how values are read and written, and what a commit is."""
    conn.execute(PIN, _arrays(PINNED))


def _arrays(settings: dict[str, str]) -> dict[str, list[str]]:
    return {"names": list(settings), "values": list(settings.values())}
