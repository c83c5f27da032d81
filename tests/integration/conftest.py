"""One real part at a time: servers per run, databases and virtual hosts per test."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import docker
import psycopg
import pytest
import redis
from pydantic import Secret

from services.syncer import tick_store
from services.syncer.projection import Projection
from services.syncer.service import Syncer
from shared import postgres
from shared.settings import PostgresSettings
from tests.support import containers, ledger, own_broker, partitions, servers
from tests.support.ledger import add, minute
from tests.support.own_broker import OwnBroker


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    """The Docker engine."""
    return containers.engine()


@pytest.fixture(scope="session")
def postgres_server(engine: docker.DockerClient) -> Iterator[servers.Postgres]:
    """One Postgres for the run."""
    direct = containers.reachable(engine)
    with servers.postgres(engine, direct=direct, in_memory=True) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_server(engine: docker.DockerClient) -> Iterator[servers.Rabbitmq]:
    """One RabbitMQ for the run."""
    direct = containers.reachable(engine)
    with servers.rabbitmq(engine, direct=direct, in_memory=True) as server:
        yield server


@pytest.fixture(scope="module")
def own(engine: docker.DockerClient) -> Iterator[OwnBroker]:
    """A RabbitMQ of one file's own, whose tests stop it or change how it is as a whole."""
    with own_broker.started(engine) as own:
        yield own


@pytest.fixture(scope="session")
def keydb_servers(engine: docker.DockerClient) -> Iterator[Callable[[str], servers.Keydb]]:
    """One server of each kind for the run, started when it is first asked for."""
    with contextlib.ExitStack() as started:

        @functools.cache
        def of_kind(kind: str) -> servers.Keydb:
            direct = containers.reachable(engine)
            return started.enter_context(servers.keydb(engine, kind, direct=direct))

        yield of_kind


@pytest.fixture
def keydb_server(
    request: pytest.FixtureRequest, keydb_servers: Callable[[str], servers.Keydb]
) -> servers.Keydb:
    """KeyDB, or the kind that `servers.on_both_stores` asks for."""
    return keydb_servers(getattr(request, "param", "keydb"))


@pytest.fixture
def dsn(postgres_server: servers.Postgres) -> Iterator[str]:
    """A migrated database of the test's own."""
    with postgres_server.database() as dsn:
        yield dsn


@pytest.fixture
def empty_dsn(postgres_server: servers.Postgres) -> Iterator[str]:
    """A database of the test's own in which nothing was ever made."""
    with postgres_server.database("template0") as dsn:
        yield dsn


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection to `dsn` in autocommit mode, as a person at psql has it."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield conn


@pytest.fixture
def amqp_url(rabbitmq_server: servers.Rabbitmq) -> Iterator[str]:
    """A virtual host of the test's own, in which quorum is the default queue type."""
    with rabbitmq_server.vhost() as url:
        yield url


@pytest.fixture
def store(keydb_server: servers.Keydb) -> Iterator["redis.Redis"]:
    """An empty KeyDB."""
    with keydb_server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def environment(
    dsn: str, amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb
) -> dict[str, str]:
    """Settings of services that have everything, one tick a second."""
    return {
        "POSTGRES_DSN": dsn,
        "RABBITMQ_URL": amqp_url,
        "KEYDB_URL": keydb_server.url(),
        "TICK_INTERVAL_SECONDS": "1",
    }


@pytest.fixture
def ours(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection with the syncer's own options, which avoid sequential scans."""
    settings = PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(settings, application="test", options=tick_store.OPTIONS) as conn:
        yield conn


@pytest.fixture
def projection(store: "redis.Redis", keydb_server: servers.Keydb) -> Iterator[Projection]:
    """KeyDB as the syncer sees it."""
    with ledger.projecting(keydb_server.url()) as projection:
        yield projection


@pytest.fixture
def syncer(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> Iterator[Syncer]:
    """A syncer over providers 1 Visa (1000 + 100 + 200) and 2 Mastercard (2000 - 200), shown."""
    ledger.add_provider(conn, "Visa", 1000)
    ledger.add_provider(conn, "Mastercard", 2000)
    for provider, value in ((1, 100), (1, 200), (2, -200)):
        add(conn, provider, value)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        assert ledger.shown(store) == {"1_Visa": "1300", "2_Mastercard": "1800"}
        yield syncer


@pytest.fixture
def other(dsn: str, store: "redis.Redis", keydb_server: servers.Keydb) -> Iterator[Syncer]:
    """Another syncer of the same servers, which has not read anything yet."""
    with ledger.syncing(dsn, keydb_server.url()) as other:
        yield other


@pytest.fixture
def stray_visa(conn: psycopg.Connection) -> int:
    """A provider in an outbox with its default partition only."""
    partitions.drop_made(conn)
    return ledger.add_provider(conn, "Visa", 1000)
