"""Two pipelines as processes: the money of both in one KeyDB, and what is wrong stays apart."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
import redis
from pika.exceptions import AMQPError

from tests.support import ledger, messages, programs, servers, shards
from tests.support.eventually import eventually
from tests.support.programs import Program
from tests.support.shards import Pipeline

SERVICES = ("services.ingest", "services.syncer")


@contextlib.contextmanager
def running(*pipelines: Pipeline) -> Iterator[list[Program]]:
    """Run one ticker, and each pipeline's ingest and syncer; yield the ingests."""
    with contextlib.ExitStack() as stack:
        start = stack.enter_context
        first = pipelines[0].environment
        ticker = {name: first[name] for name in ("RABBITMQ_URL", "TICK_INTERVAL_SECONDS")}
        start(programs.running("services.ticker", **ticker))
        ingests = []
        for one in pipelines:
            ingest, _ = (start(programs.running(name, **one.environment)) for name in SERVICES)
            ingests.append(ingest)
        for ingest in ingests:
            messages.consuming(ingest)
        yield ingests


@pytest.fixture
def admin(postgres_server: servers.Postgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        yield admin


def test_the_money_of_both_is_in_one_keydb_and_what_went_wrong_arrives_by_a_replay(
    pair: tuple[Pipeline, Pipeline], amqp_url: str, store: "redis.Redis"
) -> None:
    zero, one = pair
    with running(*pair):
        store_all(amqp_url, pair)
        shards.publish(amqp_url, (2, 70, "misrouted"), key="1")
        eventually(lambda: messages.reasons(one.conn) == ["wrong_shard"])

        done = one.ops.json("dead-letters", "replay", "--all")
        assert (done["sent_on"], done["dead"]) == (1, {})
        assert messages.dead_letters(one.conn) == []
        eventually(lambda: messages.rows(zero.conn) == [(2, 600), (-4, -50), (2, 70)])
        eventually(lambda: ledger.shown(store) == shards.truth(*pair))

    assert ledger.shown(store) == {
        "2_Visa": "1670", "-4_Amex": "950", "1_Mastercard": "1300", "-3_Diners": "600",
    }  # fmt: skip
    ours = {key for key in store.scan_iter() if key.startswith("minutebook:")}
    assert ours == {f"minutebook:{name}:{k}" for name in ("keys", "watermark") for k in (0, 1)}
    assert zero.keys(store) == {"2_Visa", "-4_Amex"}
    assert one.keys(store) == {"1_Mastercard", "-3_Diners"}


def store_all(amqp_url: str, pair: tuple[Pipeline, Pipeline]) -> None:
    """Have two of each shard stored: before that, KeyDB is right with none of them."""
    zero, one = pair
    eventually(lambda: publish_all(amqp_url))
    eventually(lambda: messages.rows(zero.conn) == [(2, 600), (-4, -50)])
    eventually(lambda: messages.rows(one.conn) == [(1, 300), (-3, -400)])


def publish_all(amqp_url: str) -> bool:
    """Publish two of each shard, once both queues are bound; twice counts once."""
    try:
        shards.publish(amqp_url, (2, 600, "a"), (-4, -50, "b"), (1, 300, "c"), (-3, -400, "d"))
    except AMQPError as error:  # no exchange yet, or no queue is bound
        raise AssertionError(repr(error)) from error
    return True


def test_while_the_postgres_of_one_is_down_the_other_is_exact_and_nothing_is_lost(
    pair: tuple[Pipeline, Pipeline],
    amqp_url: str,
    store: "redis.Redis",
    admin: psycopg.Connection,
    postgres_server: servers.Postgres,
) -> None:
    zero, one = pair
    with running(*pair):
        store_all(amqp_url, pair)
        eventually(lambda: ledger.shown(store) == shards.truth(*pair))
        zero.conn.close()
        with shards.postgres_down(admin, zero):
            before = one.mark(store)
            shards.publish(amqp_url, (2, 5, "e"), (1, 7, "f"))
            eventually(lambda: store.get("1_Mastercard") == "1307")
            assert int(one.mark(store)[0]) > int(before[0])
            assert store.get("2_Visa") == "1600"
        eventually(lambda: store.get("2_Visa") == "1605")
        with psycopg.connect(postgres_server.dsn(shards.database(zero))) as conn:
            assert messages.rows(conn) == [(2, 600), (-4, -50), (2, 5)]
