"""Whoever changes the user's tables, and however: right at the next tick, in Postgres and KeyDB."""

from typing import LiteralString

import psycopg
import pytest
import redis

from migrations import runner
from services.syncer.service import Syncer
from tests.support import ledger, servers
from tests.support.ledger import add, minute


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            (
                "INSERT INTO historical_transactions (provider_id, transaction_value)"
                " SELECT 1, v FROM generate_series(1, 10) v"
            ),
            {"1_Visa": "1355", "2_Mastercard": "1800"},
        ),
        (
            "UPDATE historical_transactions SET transaction_value = 1 WHERE id = 1",
            {"1_Visa": "1201", "2_Mastercard": "1800"},
        ),
        (
            "UPDATE historical_transactions SET provider_id = 2 WHERE id = 2",
            {"1_Visa": "1100", "2_Mastercard": "2000"},
        ),
        (
            "UPDATE historical_transactions SET message_id = 'm' || id",
            {"1_Visa": "1300", "2_Mastercard": "1800"},
        ),
        ("DELETE FROM historical_transactions", {"1_Visa": "1000", "2_Mastercard": "2000"}),
        (
            (
                "INSERT INTO historical_transactions (id, provider_id, transaction_value)"
                " VALUES (1, 1, 40) ON CONFLICT (id)"
                " DO UPDATE SET transaction_value = excluded.transaction_value"
            ),
            {"1_Visa": "1240", "2_Mastercard": "1800"},
        ),
        (
            (
                "MERGE INTO historical_transactions t"
                " USING (VALUES (1, 1), (9, 2)) s (id, provider_id) ON t.id = s.id"
                " WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN"
                " INSERT (provider_id, transaction_value) VALUES (s.provider_id, 5)"
            ),
            {"1_Visa": "1200", "2_Mastercard": "1805"},
        ),
        (
            "UPDATE initial_data SET initial_value = 5 WHERE id = 1",
            {"1_Visa": "305", "2_Mastercard": "1800"},
        ),
        (
            "UPDATE initial_data SET provider_name = 'Visa é' WHERE id = 1",
            {"1_Visa é": "1300", "2_Mastercard": "1800"},
        ),
        (
            (
                "UPDATE initial_data SET provider_name ="
                " CASE id WHEN 1 THEN 'Mastercard' ELSE 'Visa' END"
            ),
            {"1_Mastercard": "1300", "2_Visa": "1800"},
        ),
        (
            "INSERT INTO initial_data (provider_name, initial_value) VALUES ('Amex', -7)",
            {"1_Visa": "1300", "2_Mastercard": "1800", "3_Amex": "-7"},
        ),
        (
            (
                "WITH rows AS (DELETE FROM historical_transactions WHERE provider_id = 1)"
                " DELETE FROM initial_data WHERE id = 1"
            ),
            {"2_Mastercard": "1800"},
        ),
    ],
)
@pytest.mark.parametrize("folding", [False, True], ids=["tick-only", "folding-between"])
def test_a_change_by_hand_is_right_at_the_next_tick(
    syncer: Syncer,
    conn: psycopg.Connection,
    store: "redis.Redis",
    *,
    statement: LiteralString,
    expected: dict[str, str],
    folding: bool,
) -> None:
    conn.execute(statement)
    if folding:
        syncer.fold()
    syncer.tick(minute(2))
    assert ledger.shown(store) == expected
    ledger.assert_right(conn, store)


def test_copied_rows_are_right_at_the_next_tick(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    with conn.cursor().copy(
        "COPY historical_transactions (provider_id, transaction_value) FROM STDIN"
    ) as copy:
        for value in range(1000):
            copy.write_row((2, value))
    syncer.tick(minute(2))
    assert ledger.shown(store) == {"1_Visa": "1300", "2_Mastercard": "501300"}


def test_a_name_changed_back_between_two_ticks_keeps_its_key(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    conn.execute("UPDATE initial_data SET provider_name = 'X' WHERE id = 1")
    syncer.fold()
    conn.execute("UPDATE initial_data SET provider_name = 'Visa' WHERE id = 1")
    syncer.tick(minute(2))
    ledger.assert_right(conn, store)


def test_a_name_changed_and_back_over_ticks_that_were_not_published_keeps_its_key(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    conn.execute("UPDATE initial_data SET provider_name = 'X' WHERE id = 1")
    with conn.transaction():
        ledger.tick_within(conn, minute(2))
    conn.execute("UPDATE initial_data SET provider_name = 'Visa' WHERE id = 1")
    syncer.tick(minute(3))
    ledger.assert_right(conn, store)


def test_a_provider_that_went_and_came_back_is_shown_again(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    conn.execute("DELETE FROM historical_transactions WHERE provider_id = 1")
    conn.execute("DELETE FROM initial_data WHERE id = 1")
    syncer.tick(minute(2))
    assert ledger.shown(store) == {"2_Mastercard": "1800"}
    conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 50)")
    syncer.tick(minute(3))
    assert ledger.shown(store) == {"1_Visa": "50", "2_Mastercard": "1800"}
    ledger.assert_right(conn, store)


@pytest.mark.parametrize(
    "statement",
    ["TRUNCATE historical_transactions", "TRUNCATE initial_data CASCADE"],
)
def test_truncate_is_refused_and_says_what_to_do(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis", statement: LiteralString
) -> None:
    with pytest.raises(psycopg.errors.RaiseException, match="TRUNCATE of") as refused:
        conn.execute(statement)
    assert "DELETE" in (refused.value.diag.message_hint or "")
    syncer.tick(minute(2))
    assert ledger.shown(store) == {"1_Visa": "1300", "2_Mastercard": "1800"}


def test_transactions_of_an_unknown_provider_count_as_soon_as_it_appears(
    empty_dsn: str, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(
            "CREATE TABLE initial_data (id int PRIMARY KEY, provider_name text, initial_value int)"
        )
        conn.execute(
            "CREATE TABLE historical_transactions"
            " (id serial PRIMARY KEY, provider_id int, transaction_value int)"
        )
        add(conn, 1, 5)
        runner.apply(conn, runner.read())
        with ledger.syncing(empty_dsn, keydb_server.url()) as syncer:
            add(conn, 1, 30)
            syncer.tick(minute(1))
            assert ledger.shown(store) == {}
            conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 1000)")
            syncer.tick(minute(2))
            ledger.assert_right(conn, store)
            assert ledger.shown(store) == {"1_Visa": "1035"}
            conn.execute("UPDATE initial_data SET id = 2")  # its transactions are orphans again
            syncer.tick(minute(3))
            assert ledger.shown(store) == {"2_Visa": "1000"}
            ledger.assert_right(conn, store)
