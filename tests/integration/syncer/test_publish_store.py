"""Publishing when KeyDB is flushed, put back, malformed or away."""

import psycopg
import pytest
import redis
import structlog
from prometheus_client import REGISTRY

from services.syncer import publish_store
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY, Projection
from shared.errors import Refusal
from tests.support import ledger, servers
from tests.support.ledger import add, minute
from tests.support.tcp_proxy import proxying

pytestmark = servers.on_both_stores


def fenced() -> float:
    return REGISTRY.get_sample_value("minutebook_fenced_writes_total") or 0.0


@pytest.mark.parametrize("meddling", ["flushed", "put-back"])
def test_a_store_that_changed_after_its_watermark_was_read_fences_and_then_is_right(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    meddling: str,
) -> None:
    url = keydb_server.url()
    visa = ledger.add_provider(conn, "Visa", 1000)
    ledger.add_provider(conn, "Mastercard", 2000)
    with ledger.syncing(dsn, url) as syncer:
        syncer.tick(minute(1))
        older = ledger.dump(keydb_server)
        conn.execute("UPDATE initial_data SET provider_name = 'MC', initial_value = 2 WHERE id = 2")
        syncer.tick(minute(2))
    before = fenced()
    meddle = ledger.flush(keydb_server) if meddling == "flushed" else older
    with (
        ledger.keydb_client(url) as client,
        ledger.syncer_of(dsn, ledger.Meddled(client, meddle)) as syncer,
    ):
        add(conn, visa, 5)
        assert syncer.tick(minute(3)).state == "applied"
    assert fenced() == before + 1
    ledger.assert_right(conn, store)


def test_a_store_put_back_to_an_older_tick_is_sent_what_changed_since(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    url = keydb_server.url()
    ledger.add_provider(conn, "Visa", 1000)
    ledger.add_provider(conn, "Mastercard", 2000)
    with ledger.syncing(dsn, url) as syncer:
        syncer.tick(minute(1))
        older = ledger.dump(keydb_server)
        conn.execute("UPDATE initial_data SET provider_name = 'MC' WHERE id = 2")
        syncer.tick(minute(2))
        conn.execute("UPDATE initial_data SET initial_value = 7 WHERE id = 1")
        syncer.tick(minute(3))
        older()
        syncer.tick(minute(4))
    ledger.assert_right(conn, store)


@pytest.mark.parametrize("token", ["", "of-another-life"])
def test_an_unknown_watermark_leads_to_a_full_send_that_removes_ours_and_no_others(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    token: str,
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    store.mset({"1_Visa": "-1", "7_Gone": "7", "8_Foreign": "8", "user:1": "x"})
    store.sadd(KEYS_KEY, "1_Visa", "7_Gone")
    if token:
        store.hset(WATERMARK_KEY, mapping={"epoch": "40", "token": token})
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
    assert ledger.shown(store) == {"1_Visa": "1000", "8_Foreign": "8", "user:1": "x"}
    assert store.smembers(KEYS_KEY) == {"1_Visa"}
    assert int(ledger.watermark(store)[0]) == (41 if token else 1)


@pytest.mark.parametrize("epoch", ["x", "-1", "1e3", "9" * 40, "", "\x00", "  1"])
def test_a_malformed_epoch_is_replaced_at_the_next_tick(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    epoch: str,
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        store.hset(WATERMARK_KEY, "epoch", epoch)
        store.set("1_Visa", "wrong")
        syncer.tick(minute(2))
    ledger.assert_right(conn, store)


@pytest.mark.parametrize("token", [b"\xff\xfe", b"a\x00b"])
def test_a_token_that_postgres_cannot_hold_does_not_stop_the_syncer(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    token: bytes,
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    store.hset(WATERMARK_KEY, mapping={"epoch": b"3", "token": token})
    store.sadd(KEYS_KEY, b"\xff")
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
    ledger.assert_right(conn, store)


def test_a_tick_that_could_not_be_published_is_published_later_with_all_that_changed_since(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    ledger.add_provider(conn, "Mastercard", 2000)
    with (
        proxying(keydb_server.url()) as (proxy, url),
        ledger.syncing(dsn, url) as syncer,
    ):
        syncer.tick(minute(1))
        with proxy.down():
            add(conn, visa, 5)
            assert syncer.tick(minute(2)).behind
            assert ledger.newest(conn)[1:] == (1, 5)
            conn.execute("UPDATE initial_data SET provider_name = 'MC' WHERE id = 2")
            assert syncer.tick(minute(3)).behind
            assert syncer.publisher.publish().state == "unreachable"
            assert ledger.shown(store) == {"1_Visa": "1000", "2_Mastercard": "2000"}
        assert syncer.publisher.publish().state == "applied"
        assert syncer.publisher.publish().state == "done"
    ledger.assert_right(conn, store)


def test_a_slow_sender_ships_the_values_of_its_own_tick(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        add(conn, visa, 5)
        syncer.tick(minute(2))
        conn.execute("UPDATE initial_data SET provider_name = 'V', initial_value = 0")
        ledger.add_provider(conn, "New", 9)
        syncer.tick(minute(3))
    assert publish_store.everything(conn, 1) == {"1_Visa": "1000"}
    assert publish_store.everything(conn, 2) == {"1_Visa": "1005"}
    assert publish_store.changes(conn, 1, 2) == ({"1_Visa": "1005"}, set())
    assert publish_store.changes(conn, 1, 3) == ({"1_V": "5", "2_New": "9"}, {"1_Visa"})


def test_a_sender_that_slept_over_a_tick_is_fenced_by_it(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    url = keydb_server.url()
    before = fenced()
    with ledger.syncing(dsn, url) as other, ledger.keydb_client(url) as client:
        other.tick(minute(1))

        def overtake() -> None:
            add(conn, visa, 7)
            other.tick(minute(3))

        with ledger.syncer_of(dsn, ledger.Meddled(client, overtake)) as sleeper:
            add(conn, visa, 5)
            assert sleeper.tick(minute(2)).state == "done"
    assert fenced() == before + 1
    ledger.assert_right(conn, store)


def test_a_store_that_evicts_is_refused(store: "redis.Redis", keydb_server: servers.Keydb) -> None:
    store.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with (
            ledger.keydb_client(keydb_server.url()) as client,
            pytest.raises(Refusal, match="allkeys-lru"),
        ):
            Projection(client).read()
    finally:
        store.config_set("maxmemory-policy", "noeviction")


def test_a_store_without_persistence_is_used_with_a_warning(
    store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    store.config_set("appendonly", "no")
    try:
        with (
            ledger.keydb_client(keydb_server.url()) as client,
            structlog.testing.capture_logs() as logs,
        ):
            Projection(client).read()
    finally:
        store.config_set("appendonly", "yes")
    assert [line["event"] for line in logs] == ["keydb_not_persistent"]
