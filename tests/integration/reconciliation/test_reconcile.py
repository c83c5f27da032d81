"""Three accounts at one snapshot: silent when all is right, exact when one of them is not."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg
import pytest

from reconciliation import reconcile
from reconciliation.drift import LedgerDrift
from services.syncer.projection import Projection
from services.syncer.service import Syncer
from shared.errors import Unanswerable
from tests.support import ledger
from tests.support.ledger import add, minute
from tests.support.manual_changes import behind_the_triggers


def test_right_accounts_agree_before_and_after_a_tick(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer, projection: Projection
) -> None:
    report = reconcile.run(ours, projection)
    assert (report.drifting, report.keydb.state, report.keydb.keys) == (0, "compared", 2)
    assert (report.ledger.epoch, report.ledger.providers, report.ledger.transactions) == (1, 2, 3)
    add(conn, 1, 5)
    conn.execute("UPDATE initial_data SET provider_name = 'MC' WHERE id = 2")
    ledger.add_provider(conn, "New", 9)
    assert reconcile.run(ours, projection).drifting == 0
    syncer.fold()
    syncer.tick(minute(2))
    assert reconcile.run(ours, projection).drifting == 0


def test_the_connection_is_left_as_it_was(
    ours: psycopg.Connection, syncer: Syncer, projection: Projection
) -> None:
    query = "SELECT name, setting FROM pg_settings ORDER BY 1"
    before = ours.execute(query).fetchall()
    reconcile.run(ours, projection)
    assert ours.execute(query).fetchall() == before


@pytest.mark.parametrize(
    ("statement", "drift"),
    [
        (
            "INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (1, 9)",
            LedgerDrift(1, 1309, 1300, 0, "1_Visa", "1_Visa"),
        ),
        (
            "DELETE FROM historical_transactions WHERE provider_id = 2",
            LedgerDrift(2, 2000, 1800, 0, "2_Mastercard", "2_Mastercard"),
        ),
        (
            "UPDATE initial_data SET initial_value = NULL WHERE id = 2",
            LedgerDrift(2, -200, 1800, 0, "2_Mastercard", "2_Mastercard"),
        ),
        (
            "UPDATE initial_data SET provider_name = 'V' WHERE id = 1",
            LedgerDrift(1, 1300, 1300, 0, "1_V", "1_Visa"),
        ),
        ("INSERT INTO initial_data VALUES (3, 'Amex', 0)", LedgerDrift(3, 0, 0, 0, "3_Amex", None)),
        (
            "DELETE FROM initial_data WHERE id = 1",
            LedgerDrift(1, 300, 1300, 0, None, "1_Visa"),
        ),
        (
            "UPDATE balance SET balance = 7 WHERE provider_id = 1",
            LedgerDrift(1, 1300, 7, 0, "1_Visa", "1_Visa"),
        ),
        (
            "INSERT INTO outbox (provider_id, amount, operation) VALUES (2, 40, 'added')",
            LedgerDrift(2, 1800, 1800, 40, "2_Mastercard", "2_Mastercard"),
        ),
        (
            "INSERT INTO balance VALUES (77, 1, '77_x', true, 5)",
            LedgerDrift(77, 0, 5, 0, None, "77_x"),
        ),
    ],
)
def test_a_ledger_that_is_not_what_the_tables_say_is_named_with_its_legs(
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    syncer: Syncer,
    statement: LiteralString,
    drift: LedgerDrift,
) -> None:
    nullable = "ALTER TABLE initial_data ALTER COLUMN initial_value DROP NOT NULL"
    conn.execute(nullable)
    behind_the_triggers(conn, statement)
    report = reconcile.run(ours, None)
    assert report.ledger.drifts == (drift,)
    assert report.ledger.drifting == {drift.provider_id}
    assert (report.drifting, report.keydb.state) == (1, "not_asked")


def test_in_a_cluster_to_which_the_database_has_just_moved_there_is_no_answer(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer
) -> None:
    conn.execute("UPDATE tick SET system_identifier = system_identifier - 1")
    with pytest.raises(Unanswerable, match="another cluster"):
        reconcile.run(ours, None)


def test_beside_writers_ticks_and_open_transactions_nothing_ever_seems_to_drift(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    syncer: Syncer,
    projection: Projection,
) -> None:
    stop = threading.Event()

    def write(first: int) -> None:
        with psycopg.connect(dsn, autocommit=True) as writer:
            number = first
            while not stop.is_set():
                number += 1
                with writer.transaction(force_rollback=number % 3 == 0):
                    add(writer, 1 + number % 2, number)
                    writer.execute(
                        "UPDATE initial_data SET provider_name = %s WHERE id = %s",
                        [f"n{number}", 1 + number % 2],
                    )
                    writer.execute("DELETE FROM historical_transactions WHERE id % 7 = 0")

    def tick() -> int:
        number = 1
        while not stop.is_set():
            syncer.fold()
            number += 1
            syncer.tick(minute(number))
        return number

    with ThreadPoolExecutor(3) as pool, psycopg.connect(dsn) as open_one:
        add(open_one, 1, 1000)
        writers = [pool.submit(write, 0), pool.submit(write, 1)]
        ticks = pool.submit(tick)
        try:
            reports = [reconcile.run(ours, projection) for _ in range(40)]
        finally:
            stop.set()
        for writer in writers:
            writer.result(timeout=60)
        assert ticks.result(timeout=60) > 5
    assert [(one.ledger.drifts, one.keydb.drifts) for one in reports if one.drifting] == []
    assert "compared" in {one.keydb.state for one in reports}


def test_ten_thousand_drifts_are_counted_and_the_first_thousand_described(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer
) -> None:
    behind_the_triggers(
        conn,
        "INSERT INTO initial_data (provider_name, initial_value)"
        " SELECT 'p', v FROM generate_series(1, 10000) v",
    )
    report = reconcile.run(ours, None)
    assert (report.drifting, len(report.ledger.drifts)) == (10_000, 1000)
    rows = ours.execute(reconcile.SELECT_LEDGER, {"drifts_max": 10}).fetchall()
    assert [len(ids or ()) for *_, ids in (row[:5] for row in rows)] == [10_000] + [0] * 9, "once"


def test_only_the_history_is_read_from_end_to_end(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer
) -> None:
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value)"
        " SELECT 1 + v % 2, 1 FROM generate_series(1, 200000) v"
    )
    syncer.tick(minute(2))
    conn.execute("ANALYZE")
    with ours.transaction():
        ours.execute(reconcile.FOR_THE_WHOLE_HISTORY)
        query = "EXPLAIN (ANALYZE) " + reconcile.SELECT_LEDGER
        plan = [line for (line,) in ours.execute(query, {"drifts_max": 10})]
    text = "\n".join(plan)
    assert "Seq Scan on historical_transactions" in text
    read = [line for line in plan if "Seq Scan on outbox" in line and "rows=0" not in line[40:]]
    assert read == [], text
