"""Several hosts of one server: whichever takes us is found, and a failover is followed."""

import contextlib
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import docker
import psycopg
import pytest
import redis
from docker.models.containers import Container
from pydantic import Secret

from ops.doctor import keydb_checks
from ops.doctor.core import Check
from services.syncer.projection import Projection
from shared import keydb, postgres
from shared.amqp.channel import Channel
from shared.amqp.connection import HEARTBEAT_S
from shared.amqp.protocol_tap import SILENT_MAX_S
from shared.errors import Unavailable
from shared.settings import KeydbSettings, PostgresSettings, RabbitmqSettings
from tests.support import containers, keydb_rights, ledger, outages, postgres_replica, servers
from tests.support.containers import address, running
from tests.support.eventually import eventually
from tests.support.ledger import add, minute
from tests.support.tcp_proxy import proxying

POLL_S = 0.5
SERVICE = "balances"
SENTINEL_PASSWORD = "of the sentinels"
SERVER = (
    f"redis-server --bind 0.0.0.0 --protected-mode no --appendonly yes"
    f" --repl-diskless-sync-delay 0 --repl-ping-replica-period 1 --min-replicas-max-lag 10"
    f" --user {keydb_rights.USER} {' '.join(keydb_rights.RULES)}"
)
WATCHED = f"""
requirepass "{SENTINEL_PASSWORD}"
sentinel monitor {SERVICE} {{primary}} 6379 1
sentinel down-after-milliseconds {SERVICE} 2000
sentinel failover-timeout {SERVICE} 2000
"""


def test_a_broker_is_reached_by_whichever_of_its_hosts_takes_us(amqp_url: str) -> None:
    for live in range(2):
        hosts = [f"127.0.0.1:{outages.free_port()}" for _ in range(2)]
        hosts[live] = urlsplit(amqp_url).netloc.rpartition("@")[2]
        given = broker(amqp_url, *hosts)
        for _ in range(4):  # in random order
            with Channel.connected(given, name="test") as channel:
                assert channel.declare("incoming_transactions").messages == 0


def test_with_no_broker_there_the_reason_is_that_of_the_last_one(amqp_url: str) -> None:
    gone = broker(amqp_url, *(f"127.0.0.1:{outages.free_port()}" for _ in range(3)))
    with (
        pytest.raises(Unavailable, match="connection refused"),
        Channel.connected(gone, name="test"),
    ):
        pass


def test_a_broker_that_falls_silent_is_given_up_in_twice_the_heartbeat(amqp_url: str) -> None:
    with proxying(amqp_url) as (proxy, url):
        given = RabbitmqSettings(rabbitmq_url=Secret(url))
        with Channel.connected(given, name="test") as channel, proxy.frozen():
            begun = time.monotonic()
            with pytest.raises(Unavailable, match="no heartbeat"):
                poll_for_ever(channel)
            # pika would look after 10 s, when the answers to our opening count still, and after 20.
            assert SILENT_MAX_S <= time.monotonic() - begun < SILENT_MAX_S + 2 * HEARTBEAT_S - 2


def poll_for_ever(channel: Channel) -> None:
    while True:
        channel.poll(POLL_S)


def broker(amqp_url: str, *hosts: str) -> RabbitmqSettings:
    """Return settings that name other hosts."""
    parts = urlsplit(amqp_url)
    login = parts.netloc.rpartition("@")[0]
    url = f"amqp://{login}@{','.join(hosts)}{parts.path}"
    return RabbitmqSettings(rabbitmq_url=Secret(url))


def test_of_two_postgres_the_one_that_is_not_read_only_is_found_wherever_it_stands(
    engine: docker.DockerClient,
) -> None:
    with postgres_replica.cluster(engine) as cluster:
        cluster.add_replica()
        name = cluster.database()
        ports = [cluster.primary.port, cluster.replica.port]
        for order in (ports, ports[::-1]):
            hosts = ",".join(f"127.0.0.1:{port}" for port in order)
            dsn = f"postgresql://{servers.USER}:{servers.PASSWORD}@{hosts}/{name}"
            given = PostgresSettings(postgres_dsn=Secret(dsn))
            with postgres.connection(given, application="test") as conn:
                assert conn.info.port == cluster.primary.port
                assert postgres.scalar(conn, "SHOW transaction_read_only") == "off"


class Watched:
    """A primary and its replica, and a Sentinel that watches them."""

    def __init__(self, one: Container, other: Container, sentinel: Container) -> None:
        self.containers = (one, other)
        self._stores = [redis.Redis(address(each), decode_responses=True) for each in (one, other)]
        self.url = (
            f"redis+sentinel://{keydb_rights.USER}:{keydb_rights.PASSWORD}"
            f"@127.0.0.1:{outages.free_port()},{address(sentinel)}:26379/{SERVICE}/0"
        )

    def store(self, number: int) -> "redis.Redis":
        """Return a client of one of the servers, which may do anything."""
        return self._stores[number]


@pytest.fixture
def watched(engine: docker.DockerClient) -> Iterator[Watched]:
    with contextlib.ExitStack() as started:

        def run(command: str, port: int) -> Container:
            one = started.enter_context(running(engine, "REDIS_IMAGE", command=command))
            ping = ["redis-cli", "-p", str(port), "ping"]
            containers.await_success(one, ping)
            return one

        primary = run(SERVER, 6379)
        replica = run(f"{SERVER} --replicaof {address(primary)} 6379", 6379)
        settings = WATCHED.format(primary=address(primary))
        script = f"echo '{settings}' > /tmp/s && exec redis-server /tmp/s --sentinel"
        found = Watched(
            primary, replica, run(f'sh -c "{script.replace(chr(34), chr(92) + chr(34))}"', 26379)
        )
        eventually(lambda: found.store(0).info("replication")["connected_slaves"] == 1)
        yield found


@contextlib.contextmanager
def projecting(watched: Watched, password: str = SENTINEL_PASSWORD) -> Iterator[Projection]:
    given = KeydbSettings(keydb_url=Secret(watched.url), keydb_sentinel_password=Secret(password))
    with keydb.client(given, name="test") as client:
        yield Projection(client)


def test_a_failover_by_sentinel_is_followed_and_a_primary_that_is_cut_off_takes_no_writes(
    dsn: str, conn: psycopg.Connection, watched: Watched
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    for number in (0, 1):
        watched.store(number).config_set("min-replicas-to-write", 1)
    with projecting(watched) as projection, ledger.syncer_of(dsn, projection) as syncer:
        assert syncer.tick(minute(1)).state == "applied"
        eventually(lambda: ledger.shown(watched.store(1)) == {"1_Visa": "1000"})
        containers.freeze(watched.containers[0])
        try:
            watched.store(1).config_set("min-replicas-to-write", 0)  # it has none for the moment
            add(conn, visa, 5)
            assert syncer.tick(minute(2)).behind
            eventually(lambda: not syncer.publisher.publish().behind)
            assert ledger.shown(watched.store(1)) == {"1_Visa": "1005"}
        finally:
            watched.containers[0].unpause()
        eventually(lambda: watched.store(0).info("replication")["role"] == "slave")
        eventually(lambda: ledger.shown(watched.store(0)) == {"1_Visa": "1005"})
        checks = {one.name: one.verdict for one in found_by_doctor(watched)}
        assert (checks["role"], checks["min-replicas-to-write"]) == ("ok", "warn")


def found_by_doctor(watched: Watched) -> list[Check]:
    with keydb.client(
        KeydbSettings(keydb_url=Secret(f"redis://{address(watched.containers[1])}:6379/0")),
        name="test",
    ) as client:
        return list(keydb_checks.inspect(client))


def test_sentinels_that_refuse_us_or_know_no_primary_are_named(watched: Watched) -> None:
    with (
        projecting(watched, "wrong") as projection,
        pytest.raises(Unavailable, match="a Sentinel refuses KEYDB_SENTINEL_PASSWORD"),
    ):
        projection.read()


def test_a_server_that_has_too_few_replicas_is_left_for_the_one_that_its_name_leads_to(
    store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    with proxying(keydb_server.url()) as (proxy, url), ledger.projecting(url) as projection:
        read = projection.read()
        connected = clients(store)
        store.config_set("min-replicas-to-write", 1)
        try:
            with pytest.raises(Unavailable, match="too few replicas"):
                projection.invalidate_watermark(read)
            eventually(lambda: clients(store) < connected)
        finally:
            store.config_set("min-replicas-to-write", 0)
        with proxy.down(), pytest.raises(Unavailable):
            projection.read()


def clients(store: "redis.Redis") -> int:
    return len([one for one in store.client_list() if one["user"] == keydb_rights.USER])
