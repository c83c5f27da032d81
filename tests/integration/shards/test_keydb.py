"""Whatever one shard's syncer does to KeyDB, the other's balances, keys and watermark stay."""

import json
from collections.abc import Callable

import pytest
import redis

from services.syncer.projection import KEYS_KEY, WATERMARK_KEY
from tests.support import ledger, servers, shards
from tests.support.eventually import eventually
from tests.support.ledger import add, minute
from tests.support.shards import Pipeline

Act = Callable[[Pipeline, "redis.Redis"], object]


@pytest.fixture
def shown(
    pair: tuple[Pipeline, Pipeline], store: "redis.Redis", keydb_server: servers.Keydb
) -> tuple[Pipeline, Pipeline]:
    """Both pipelines, each with a tick that KeyDB shows."""
    for pipeline in pair:
        with shards.syncing(pipeline, keydb_server) as syncer:
            syncer.tick(minute(1))
    assert ledger.shown(store) == shards.truth(*pair)
    return pair


def lose_watermark(pipeline: Pipeline, store: "redis.Redis") -> None:
    store.delete(pipeline.shard.key(WATERMARK_KEY))
    store.sadd(pipeline.shard.key(KEYS_KEY), "7_Gone")


def fail_over(pipeline: Pipeline, store: "redis.Redis") -> None:
    store.hset(pipeline.shard.key(WATERMARK_KEY), "token", "of a tick that was lost")


def remove_provider(pipeline: Pipeline, _store: "redis.Redis") -> None:
    pipeline.conn.execute("DELETE FROM initial_data WHERE id = -4")


def rebuild(pipeline: Pipeline, store: "redis.Redis") -> None:
    store.sadd(pipeline.shard.key(KEYS_KEY), "7_Gone")
    assert pipeline.ops.json("rebuild")["removed"] == 1


def repair(pipeline: Pipeline, store: "redis.Redis") -> None:
    store.set("2_Visa", "13")
    store.sadd(pipeline.shard.key(KEYS_KEY), "7_Gone")
    assert pipeline.ops("reconcile", "--repair").code == 0


@pytest.mark.parametrize(
    "act",
    [lose_watermark, fail_over, remove_provider, rebuild, repair],
    ids=lambda one: one.__name__,
)
def test_a_full_send_or_a_removal_of_one_leaves_the_other_alone(
    act: Act,
    shown: tuple[Pipeline, Pipeline],
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    zero, one = shown
    mark, keys, values = one.mark(store), one.keys(store), shards.truth(one)

    act(zero, store)
    add(zero.conn, 2, 5)
    with shards.syncing(zero, keydb_server) as syncer:
        syncer.tick(minute(2))

    assert ledger.shown(store) == shards.truth(zero) | values
    assert zero.keys(store) == set(shards.truth(zero))
    assert (one.mark(store), one.keys(store)) == (mark, keys)
    assert zero.mark(store) == ledger.mark_of_newest(zero.conn)


def test_what_subscribers_are_told_says_whose_tick_it_is(
    shown: tuple[Pipeline, Pipeline], store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    with store.pubsub(ignore_subscribe_messages=True) as heard:  # type: ignore[no-untyped-call]
        heard.subscribe("minutebook:ticks")
        heard.get_message(timeout=0.1)
        for pipeline in shown:
            with shards.syncing(pipeline, keydb_server) as syncer:
                syncer.tick(minute(2))
        told: list[dict[str, object]] = []

        def both() -> bool:
            if message := heard.get_message(timeout=0.1):
                told.append(json.loads(message["data"]))
            return len(told) == len(shown)

        eventually(both)
    assert [one["shard"] for one in told] == [0, 1]
