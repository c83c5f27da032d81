"""How a statement is read: its own ticks alone, and nothing is left open that is not read."""

import psycopg
import pytest

from services.syncer.tick_store import newest_tick
from shared.ledger import statement as ledger_statement
from shared.ledger import statement_store
from shared.ledger.statement import Statement, statement
from tests.support import ledger, messages, query_plans
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


def test_a_statement_reads_its_ticks_and_nothing_else(conn: psycopg.Connection) -> None:
    messages.add_providers(conn)
    ledger.count_all(conn)
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value)"
        " SELECT 1 + n % 2, 1 FROM generate_series(1, 5000) n"
    )
    ledger.count_all(conn)
    for _ in range(10):
        ledger.add(conn, 1, 3)
    ledger.count_all(conn)
    newest = newest_tick(conn).epoch
    values = {"provider_id": 1, "after": newest - 1, "until": newest}
    (row,) = conn.execute(statement_store.SELECT_CHANGES, values).fetchall()
    conn.execute("SET enable_seqscan = off")
    given = {"provider_id": 1, "snapshots": [row[5]], "befores": [row[6]]}
    plan = query_plans.explain(conn, statement_store.SELECT_MOVEMENTS, given)
    assert sum(query_plans.visited(one) for one in query_plans.scans(plan, "outbox")) <= 20
