"""What a syncer remembers of the balances before: right at the boundary, whatever came between."""

import psycopg
import pytest
import redis

from services.syncer import core, tick_store
from tests.support import ledger, servers
from tests.support.ledger import add, minute

ODD_NAMES = ['a "quoted" one', "back\\slash", "{braces, commas}", "NULL", "", "Ünïcödé 💳", "a'b"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE initial_data SET provider_name = 'Visum', initial_value = 1 WHERE id = %s",
        "DELETE FROM initial_data WHERE id = %s",
        "INSERT INTO initial_data (provider_name, initial_value) VALUES ('beside ' || %s, 3)",
    ],
    ids=["renamed", "removed", "another-added"],
)
def test_a_key_remembered_by_a_fold_changes_with_its_provider(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    change: str,
) -> None:
    ledger.add_provider(conn, "Amex", 1)
    visa = ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        conn.execute("UPDATE initial_data SET initial_value = initial_value + 1")
        syncer.fold()
        conn.execute(change.encode(), [visa])
        syncer.tick(minute(2))
        ledger.assert_right(conn, store)
        syncer.fold()
        conn.execute("UPDATE initial_data SET initial_value = initial_value + 1")
        syncer.tick(minute(3))
    ledger.assert_right(conn, store)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_remembered_key_may_hold_any_character_and_counts_as_unchanged(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb, name: str
) -> None:
    odd = ledger.add_provider(conn, name, 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        add(conn, odd, 5)
        syncer.fold()
        syncer.tick(minute(2))
    ledger.assert_right(conn, store)
    changed = conn.execute("SELECT key_changed FROM balance ORDER BY epoch").fetchall()
    assert changed == [(True,), (False,)]


def test_a_tick_may_count_more_rows_than_a_32_bit_number_holds(conn: psycopg.Connection) -> None:
    read = core.resume(tick_store.newest_tick(conn))
    read.rows = 2**32
    cursor = tick_store.insert_tick(conn, core.Watermark(1, "many"), minute(1), read)
    assert tick_store.written_tick(cursor).rows == 2**32


def test_a_store_that_missed_a_tick_gets_what_both_changed(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa, amex = (ledger.add_provider(conn, name, 1000) for name in ("Visa", "Amex"))
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        add(conn, visa, 5)
        conn.execute("BEGIN")
        ledger.tick_within(conn, minute(2))  # written, never shown
        conn.execute("COMMIT")
        add(conn, amex, 7)
        syncer.fold()
        syncer.tick(minute(3))
    ledger.assert_right(conn, store)
