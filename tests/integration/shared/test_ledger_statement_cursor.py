"""A statement that is not read to its end, and who has the connection next."""

import psycopg
import pytest

from shared.ledger import statement as ledger_statement
from shared.ledger.statement import Statement, statement
from tests.support import ledger, messages
from tests.support.ledger import minute

ROWS = 3


def read_one(conn: psycopg.Connection) -> Statement:
    """Read one movement of several, and keep the statement, as a traceback does."""
    with conn.transaction(), statement(conn, 1, minute(1), minute(2)) as found:
        next(found.movements)
        return found


def test_it_has_no_cursor_left_that_would_be_closed_in_the_middle_of_anothers(
    conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_statement, "AT_ONCE", 1)
    messages.add_providers(conn)
    ledger.count_all(conn)
    for _ in range(ROWS):
        ledger.add(conn, 1, 1)
    ledger.count_all(conn)
    kept = [read_one(conn)]

    with conn.transaction(), statement(conn, 1, minute(1), minute(2)) as found:
        next(found.movements)
        kept.clear()
        assert len(list(found.movements)) == ROWS - 1
