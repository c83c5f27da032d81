"""A KeyDB that would lose or merge what we write is refused at start, with the reason."""

import psycopg
import redis

from tests.support import loss_scenario, servers
from tests.support.eventually import eventually
from tests.support.keydb_info_stub import OLD, active_replica
from tests.support.loss_scenario import said


@servers.on_both_stores
def test_the_syncer_ends_before_a_store_that_evicts_and_says_why(
    dsn: str, amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    store.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with loss_scenario.syncer(dsn, amqp_url, keydb_server.url()) as syncer:
            assert syncer.process.wait(60) == 1
            reason = "KeyDB evicts keys (maxmemory-policy allkeys-lru): set it to noeviction"
            assert said(syncer, "refused", reason=reason)
    finally:
        store.config_set("maxmemory-policy", "noeviction")


def test_the_syncer_ends_before_an_active_replica_and_says_why(dsn: str, amqp_url: str) -> None:
    with active_replica() as url, loss_scenario.syncer(dsn, amqp_url, url) as syncer:
        assert syncer.process.wait(60) == 1
        reason = "KeyDB is in active-replica mode, which merges writers: turn it off"
        assert said(syncer, "refused", reason=reason)


def test_the_syncer_ends_before_a_server_that_is_too_old_and_says_why(
    dsn: str, amqp_url: str
) -> None:
    with active_replica(OLD) as url, loss_scenario.syncer(dsn, amqp_url, url) as syncer:
        assert syncer.process.wait(60) == 1
        needed = "KeyDB 6.2, Redis 6.2 or Valkey 7.2"
        reason = f"KeyDB is version 6.0.16; Minutebook needs {needed}, or newer"
        assert said(syncer, "refused", reason=reason)


@servers.on_both_stores
def test_the_syncer_works_with_a_store_without_persistence_and_warns(
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    loss_scenario.providers(conn)
    store.config_set("appendonly", "no")
    try:
        with (
            loss_scenario.scenario(amqp_url, keydb_server) as scenario,
            loss_scenario.syncer(dsn, amqp_url, keydb_server.url()) as syncer,
        ):
            scenario.right(conn)
            eventually(lambda: said(syncer, "keydb_not_persistent", level="warning"))
    finally:
        store.config_set("appendonly", "yes")
