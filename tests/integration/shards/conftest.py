"""Two shards: databases in one Postgres, one virtual host, one KeyDB."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
import redis

from shared.shard import Shard
from tests.support import servers, shards
from tests.support.shards import Pipeline


@pytest.fixture
def pair(
    postgres_server: servers.Postgres,
    amqp_url: str,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> Iterator[tuple[Pipeline, Pipeline]]:
    """Both pipelines, each with two providers of its own; no service runs."""
    with contextlib.ExitStack() as stack:
        made = []
        for number, providers in shards.PROVIDERS.items():
            dsn = stack.enter_context(postgres_server.database())
            environment = {
                "POSTGRES_DSN": dsn,
                "RABBITMQ_URL": amqp_url,
                "KEYDB_URL": keydb_server.url(),
                "TICK_INTERVAL_SECONDS": "1",
                "SHARD": f"{number}/{shards.COUNT}",
            }
            conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
            with conn.cursor() as cursor:
                cursor.executemany(shards.INSERT_PROVIDER, providers)
            made.append(Pipeline(Shard(number, shards.COUNT), environment, conn))
        yield made[0], made[1]
