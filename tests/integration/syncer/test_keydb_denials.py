"""A KeyDB that answers and refuses: the reason is in health, and its name is looked up again."""

import contextlib
from collections.abc import Callable, Iterator

import docker
import psycopg
import pytest
import redis

from shared.errors import Denied
from tests.support import containers, keydb_rights, ledger, loss_scenario, servers
from tests.support.containers import published_port, running
from tests.support.eventually import eventually
from tests.support.ledger import add, minute
from tests.support.loss_scenario import will_say
from tests.support.ops_tool import Tool
from tests.support.programs import Program
from tests.support.tcp_proxy import proxying

SOMEWHERE = ("127.0.0.1", 1)
"""Where nobody is: who follows it is a replica that takes no writes."""


@contextlib.contextmanager
def replica(store: "redis.Redis") -> Iterator[None]:
    """Have a server be a replica while inside."""
    store.replicaof(*SOMEWHERE)
    try:
        yield
    finally:
        store.replicaof("NO", "ONE")


@contextlib.contextmanager
def configured(store: "redis.Redis", name: str, value: str, usual: str) -> Iterator[None]:
    """Have a server set in another way while inside."""
    store.config_set(name, value)
    try:
        yield
    finally:
        store.config_set(name, usual)


def running_syncer(
    environment: dict[str, str], **settings: str
) -> "contextlib.AbstractContextManager[Program]":
    """Run the syncer as a process."""
    found = environment | settings
    return loss_scenario.syncer(found["POSTGRES_DSN"], found["RABBITMQ_URL"], found["KEYDB_URL"])


@servers.on_both_stores
def test_a_primary_that_became_a_replica_is_left_for_the_one_that_its_name_leads_to(
    environment: dict[str, str],
    conn: psycopg.Connection,
    keydb_server: servers.Keydb,
    keydb_servers: Callable[[str], servers.Keydb],
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    other = keydb_servers(next(kind for kind in servers.KEYDB_KINDS if kind != keydb_server.kind))
    with (
        other.client() as new,
        proxying(keydb_server.url()) as (proxy, url),
        loss_scenario.scenario(environment["RABBITMQ_URL"], keydb_server) as scenario,
        running_syncer(environment, KEYDB_URL=url) as syncer,
    ):
        new.flushall()
        scenario.right(conn)
        before = ledger.shown(scenario.store)
        assert before == {"1_Visa": "1011"}
        with replica(scenario.store):
            add(conn, visa, 5)
            scenario.tick()
            eventually(lambda: "is a replica, which takes no writes" in syncer.health()[1])
            assert syncer.health()[0] == 503
            assert syncer.process.poll() is None
            proxy.lead_to((other.host, other.port))
            eventually(lambda: ledger.shown(new) == {"1_Visa": "1016"})
            eventually(lambda: syncer.health()[0] == 200)
            assert ledger.shown(scenario.store) == before


def test_a_replica_is_named_at_the_start_and_by_doctor_and_taken_once_it_is_a_primary(
    environment: dict[str, str],
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with (
        loss_scenario.scenario(environment["RABBITMQ_URL"], keydb_server) as scenario,
        replica(store),
        running_syncer(environment) as syncer,
    ):
        scenario.tick()
        eventually(lambda: "is a replica, which takes no writes" in syncer.health()[1])
        assert "127.0.0.1:1" in syncer.health()[1]
        found = Tool(environment).json("doctor", code=1)["checks"]
        assert [one["verdict"] for one in found if one["name"] == "role"] == ["fail"]
        store.replicaof("NO", "ONE")
        scenario.becomes_right(conn)
        assert ledger.shown(store) == {"1_Visa": "1000"}
        eventually(lambda: syncer.health()[0] == 200)


@pytest.fixture
def cluster_url(engine: docker.DockerClient) -> Iterator[str]:
    """A server in cluster mode."""
    command = "keydb-server --bind 0.0.0.0 --protected-mode no --cluster-enabled yes"
    ports = {"6379/tcp": ("127.0.0.1", None)}
    with running(engine, "KEYDB_IMAGE", command=command, ports=ports) as container:
        port = published_port(container, 6379)
        containers.await_success(container, ["keydb-cli", "ping"])
        yield f"redis://127.0.0.1:{port}/0"


def test_a_server_in_cluster_mode_is_refused_at_the_start_and_by_doctor(
    environment: dict[str, str], cluster_url: str
) -> None:
    found = Tool(environment).json("doctor", code=1, KEYDB_URL=cluster_url)["checks"]
    assert [one["verdict"] for one in found if one["name"] == "mode"] == ["fail"]
    with running_syncer(environment, KEYDB_URL=cluster_url) as syncer:
        assert syncer.process.wait(60) == 1
        (line,) = [line for line in syncer.lines() if line["event"] == "refused"]
        assert line["reason"].startswith("KeyDB is in cluster mode")


def test_a_login_that_is_refused_is_named_without_its_password_and_ops_tries_once(
    environment: dict[str, str], keydb_server: servers.Keydb
) -> None:
    url = keydb_server.url().replace(keydb_rights.PASSWORD, "hunter2")
    with running_syncer(environment, KEYDB_URL=url) as syncer:
        eventually(lambda: "refuses the login" in syncer.health()[1])
        assert f"user {keydb_rights.USER}" in syncer.health()[1]
        assert "hunter2" not in syncer.health()[1]
        assert "hunter2" not in syncer.logs()
        will_say(syncer, "keydb_not_reached")
    done = Tool(environment)("balances", KEYDB_URL=url)
    assert done.code == 3
    assert f"(user {keydb_rights.USER}, database 0) refuses the login" in done.stderr
    assert "hunter2" not in done.stderr


def test_the_shipped_rights_are_enough_for_any_database(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with (
        ledger.syncing(dsn, keydb_server.url().removesuffix("0") + "1") as syncer,
        keydb_server.client(db=1) as shown,
    ):
        assert syncer.tick(minute(1)).state == "applied"
        assert ledger.shown(shown) == {"1_Visa": "1000"}


@servers.on_both_stores
@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        (("min-replicas-to-write", "1", "0"), "too few replicas"),
        (("maxmemory", "1", "0"), "is full"),
        (("requirepass", "secret", ""), "wants a login"),
    ],
)
def test_a_server_that_takes_nothing_says_why(
    store: "redis.Redis", keydb_server: servers.Keydb, setting: tuple[str, str, str], reason: str
) -> None:
    by_default = f"redis://{keydb_server.host}:{keydb_server.port}/0"
    url = by_default if setting[0] == "requirepass" else keydb_server.url()
    with (
        ledger.projecting(url) as one,
        configured(store, *setting),
        pytest.raises(Denied, match=reason),
    ):
        one.invalidate_watermark(one.read())
