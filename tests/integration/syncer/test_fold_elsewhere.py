"""A database that moved to another cluster, or lost commits in a failover."""

import psycopg
import pytest
import redis

from services.syncer.projection import KEYS_KEY
from tests.support import ledger, servers
from tests.support.ledger import add, minute, newest


def move_to_another_cluster(conn: psycopg.Connection) -> None:
    conn.execute("UPDATE tick SET system_identifier = system_identifier - 1")


@pytest.mark.parametrize("folding", [False, True], ids=["tick-only", "folding-before"])
def test_in_a_new_cluster_the_next_tick_counts_all_again_and_nothing_twice(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    *,
    folding: bool,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
    add(conn, visa, 5)
    move_to_another_cluster(conn)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        if folding:
            assert syncer.fold().rows == 0, "the old snapshot means nothing here"
        syncer.tick(minute(2))
        assert conn.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
        ledger.assert_right(conn, store)
        assert ledger.shown(store) == {f"{visa}_Visa": "1005"}
        assert syncer.fold().rows == 0
        syncer.tick(minute(3))
        assert newest(conn)[1:] == (0, 0)
        add(conn, visa, 7)
        syncer.fold()
        syncer.tick(minute(4))
        assert newest(conn)[1:] == (1, 7)
    ledger.assert_right(conn, store)


def test_a_provider_that_is_missing_in_the_new_cluster_goes_from_keydb(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    ledger.add_provider(conn, "Amex", 1)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        conn.execute("DELETE FROM initial_data WHERE provider_name = 'Amex'")
        conn.execute("TRUNCATE outbox")
        move_to_another_cluster(conn)
        syncer.tick(minute(2))
    assert ledger.shown(store) == {f"{visa}_Visa": "1000"}
    ledger.assert_right(conn, store)


@pytest.mark.parametrize("moved_on", [0, 1, 2], ids=["behind", "level", "past"])
def test_after_a_failover_that_lost_ticks_keydb_follows_postgres_under_a_larger_epoch(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    *,
    moved_on: int,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    url = keydb_server.url()
    with ledger.syncing(dsn, url) as syncer:
        syncer.tick(minute(1))
        ledger.add_provider(conn, "Lost", 1)
        add(conn, visa, 5)
        syncer.tick(minute(2))
    shown_epoch = int(ledger.watermark(store)[0])
    lose_since(conn, shown_epoch)
    store.set("foreign", "stays")
    for number in range(moved_on):  # the other side ticked on without seeing this KeyDB
        with conn.transaction():
            ledger.tick_within(conn, minute(2 + number))
    add(conn, visa, 70)
    with ledger.syncing(dsn, url) as syncer:
        syncer.tick(minute(9))
        assert newest(conn)[0] > shown_epoch
        assert store.get("foreign") == "stays"
        store.delete("foreign")
        ledger.assert_right(conn, store)
        assert store.smembers(KEYS_KEY) == {f"{visa}_Visa"}
        assert ledger.shown(store) == {f"{visa}_Visa": "1070"}


def lose_since(conn: psycopg.Connection, epoch: int) -> None:
    """Leave Postgres as a replica that never got what was written since the tick before `epoch`."""
    conn.execute("SET session_replication_role = replica")  # no triggers: it never happened
    conn.execute("DELETE FROM historical_transactions")
    conn.execute("DELETE FROM initial_data WHERE provider_name = 'Lost'")
    conn.execute("DELETE FROM outbox WHERE transaction_id IS NOT NULL OR provider_id > 1")
    conn.execute("DELETE FROM balance WHERE epoch >= %s", [epoch])
    conn.execute("DELETE FROM tick WHERE epoch >= %s", [epoch])
    conn.execute("RESET session_replication_role")


def test_a_syncer_that_starts_shows_the_last_tick_only_if_that_is_no_step_back(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    url = keydb_server.url()
    with ledger.syncing(dsn, url) as syncer:
        syncer.tick(minute(1))
        add(conn, visa, 5)
        syncer.tick(minute(2))
    lost = ledger.watermark(store)
    lose_since(conn, int(lost[0]))
    with ledger.syncing(dsn, url) as syncer:
        published = syncer.publisher.publish()
        assert (published.state, published.behind) == ("waiting_for_next_tick", True)
        assert ledger.watermark(store) == lost
        syncer.tick(minute(2))
    assert int(ledger.watermark(store)[0]) > int(lost[0])
    ledger.assert_right(conn, store)
