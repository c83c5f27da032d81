"""Two pipelines over one broker and one KeyDB, each with a database of its own."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pika
import psycopg
import redis
from psycopg import sql

from services.ingest import core
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY, Projection
from services.syncer.service import Syncer
from shared.shard import EXCHANGE, Shard
from tests.support import ledger, messages, ops_tool
from tests.support.servers import Keydb

COUNT = 2
PROVIDERS = {0: [(2, "Visa"), (-4, "Amex")], 1: [(1, "Mastercard"), (-3, "Diners")]}
INSERT_PROVIDER = "INSERT INTO initial_data VALUES (%s, %s, 1000)"


@dataclass(frozen=True)
class Pipeline:
    """One shard: how its services are set, and its database."""

    shard: Shard
    environment: dict[str, str]
    conn: psycopg.Connection

    @property
    def ops(self) -> ops_tool.Tool:
        """The operator's tool for it."""
        return ops_tool.Tool(self.environment | {"OPS_OPERATOR": "night shift"})

    def mark(self, store: "redis.Redis") -> tuple[str, str]:
        """Return epoch and token that KeyDB shows for it."""
        epoch, token = store.hmget(self.shard.key(WATERMARK_KEY), ["epoch", "token"])
        return str(epoch or ""), str(token or "")

    def keys(self, store: "redis.Redis") -> set[str]:
        """Return which keys KeyDB notes as its own."""
        return {str(one) for one in store.smembers(self.shard.key(KEYS_KEY))}


@contextlib.contextmanager
def syncing(pipeline: Pipeline, server: Keydb) -> Iterator[Syncer]:
    """Yield the pipeline's syncer, which the test drives."""
    dsn = pipeline.environment["POSTGRES_DSN"]
    with ledger.keydb_client(server.url()) as client:
        projection = Projection(client, shard=pipeline.shard)
        with ledger.syncer_of(dsn, projection) as syncer:
            yield syncer


def publish(amqp_url: str, *sent: tuple[int, int, str], key: str | None = None) -> None:
    """Publish provider, value and identity of each as a producer does: confirmed, mandatory.

    `key` is a routing key other than the right one. Fails where no queue takes a message.
    """
    with messages.channel(amqp_url) as producer:
        producer.confirm_delivery()
        for provider, value, identity in sent:
            producer.basic_publish(
                EXCHANGE,
                str(provider % COUNT) if key is None else key,
                messages.body(provider, value),
                pika.BasicProperties(delivery_mode=2, message_id=identity),
                mandatory=True,
            )


def store(pipeline: Pipeline, *received: core.Delivery) -> None:
    """Have the pipeline's ingest store messages, in one batch."""
    with messages.ingest_connection(pipeline.environment["POSTGRES_DSN"]) as writer:
        messages.store_batch(writer, received, shard=pipeline.shard)


def truth(*pipelines: Pipeline) -> ledger.Values:
    """Return what KeyDB should show of these, from their tables alone."""
    return {key: value for one in pipelines for key, value in ledger.truth(one.conn).items()}


def database(pipeline: Pipeline) -> str:
    """Return the name of its database."""
    return pipeline.environment["POSTGRES_DSN"].rpartition("/")[2].partition("?")[0]


@contextlib.contextmanager
def postgres_down(admin: psycopg.Connection, pipeline: Pipeline) -> Iterator[None]:
    """Have a pipeline's Postgres take no connection while inside, and lose those it has."""
    name = database(pipeline)
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    admin.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
    try:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        yield
    finally:
        admin.execute(allow.format(sql.Identifier(name), sql.SQL("true")))
