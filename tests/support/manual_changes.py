"""What people change by hand between two ticks, in pairs; and what no trigger sees."""

from collections.abc import Callable
from typing import LiteralString

import psycopg

from tests.support import ledger
from tests.support.ledger import add

Change = Callable[[psycopg.Connection, int], object]


def rename(conn: psycopg.Connection, provider: int) -> None:
    """Give it another name."""
    conn.execute("UPDATE initial_data SET provider_name = 'Visum' WHERE id = %s", [provider])


def rename_back(conn: psycopg.Connection, provider: int) -> None:
    """Give it the name that it had."""
    conn.execute("UPDATE initial_data SET provider_name = 'Visa' WHERE id = %s", [provider])


def remove(conn: psycopg.Connection, provider: int) -> None:
    """Delete it with all its transactions."""
    conn.execute("DELETE FROM historical_transactions WHERE provider_id = %s", [provider])
    conn.execute("DELETE FROM initial_data WHERE id = %s", [provider])


def come(conn: psycopg.Connection, _provider: int) -> None:
    """Add another provider."""
    ledger.add_provider(conn, "Another", 7)


def spend(conn: psycopg.Connection, provider: int) -> None:
    """Insert a transaction."""
    add(conn, provider, 7)


def nothing(_conn: psycopg.Connection, _provider: int) -> None:
    """Change nothing."""


CHANGES = [
    (first, then)
    for first in (spend, rename, remove, come)
    for then in (nothing, spend, rename, rename_back, remove, come)
    if (first, then) != (remove, spend)  # nobody spends at a provider that is gone
]
"""A change before something, and one after it."""


def behind_the_triggers(conn: psycopg.Connection, *statements: LiteralString) -> None:
    """Execute them where no trigger sees it, as a replica role or a disabled trigger lets."""
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        for statement in statements:
            conn.execute(statement)
