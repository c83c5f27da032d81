"""The stack on the clusters of `deploy/ha`: up, who leads, and whether all members are there."""

import base64
import contextlib
import fcntl
import json
import re
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any, Literal

import docker
import psycopg
import redis
from docker.errors import APIError
from docker.models.containers import Container

from shared.errors import Unavailable
from tests.faults import addresses, service_health
from tests.support import stack as stacks
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.stack import QUEUE, USER, Stack

Cluster = Literal["postgres", "rabbitmq", "keydb", "etcd"]
SIZE = 3
KILLED = 137
OVERLAY = ROOT / "deploy" / "ha" / "compose.yaml"
PORTS = set(re.findall(r"\$\{([A-Z0-9_]+_PORT)", OVERLAY.read_text()))
CLUSTERS = ("postgres", "etcd", "rabbitmq", "keydb")
SERVERS = [f"{one}{number}" for one in CLUSTERS for number in ("", "-2", "-3")]
START_TIMEOUT_S, WHOLE_TIMEOUT_S, POLL_S, ANSWER_S = 400.0, 400.0, 1.0, 5.0
STREAMING = """
SELECT count(*) FILTER (WHERE state = 'streaming'), count(*) FILTER (WHERE sync_state = 'sync')
  FROM pg_stat_replication
"""


@contextlib.contextmanager
def standing(client: docker.DockerClient, *, plain: bool = False) -> Iterator[Stack]:
    """Yield the stack on clusters, up and whole, or at first that of compose.yaml; it goes then."""
    stacks.build(client)
    with stacks.project(client) as stack:
        # Every password of a test's stack is one of its own, and the Sentinels here ask for none.
        stack.settings |= {**dict.fromkeys(PORTS, "0"), "KEYDB_SENTINEL_PASSWORD": ""}
        _build(client)
        if plain:
            service_health.start(stack)
        else:
            take_over(stack)
        yield stack


def take_over(stack: Stack) -> None:
    """Start the clusters, with the data of a stack without them if it has any; wait for all."""
    stack.overrides.append(OVERLAY)
    # In two steps: each command of compose has a time limit, and clusters take their time.
    stack.compose("up", "--detach", *SERVERS)
    eventually(lambda: not stack.unhealthy(), START_TIMEOUT_S, pause_s=POLL_S)
    stack.compose("up", "--detach")
    await_whole(stack)


def _build(client: docker.DockerClient) -> None:
    """Build the image of Postgres with Patroni, under the project that builds ours, too."""
    with (Path(tempfile.gettempdir()) / f"{stacks.BUILDER}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        builder = Stack(client)
        builder.project = stacks.BUILDER
        builder.overrides.append(OVERLAY)
        builder.compose("build", "postgres")


def members(stack: Stack, cluster: str) -> list[Container]:
    """Return the containers of a cluster in the order of their names, running or not."""
    wanted = re.compile(rf"{cluster}(-[0-9])?")
    found = {name(one): one for one in stack.containers() if wanted.fullmatch(name(one))}
    return [found[one] for one in sorted(found)]


def name(container: Container) -> str:
    """Return what service a container is of."""
    return str(container.labels["com.docker.compose.service"])


def leader(stack: Stack, cluster: Cluster) -> str:
    """Return which member leads, of those that answer. Raises `Unavailable` if none does."""
    return LEADERS[cluster](stack)


def leads_another(stack: Stack, cluster: Cluster, than: str) -> bool:
    """Say whether a member leads, and it is not `than`."""
    with contextlib.suppress(Unavailable):
        return leader(stack, cluster) != than
    return False


def await_whole(stack: Stack) -> None:
    """Wait until each cluster has all its members again, and every service is healthy."""
    eventually(lambda: not missing(stack), WHOLE_TIMEOUT_S, pause_s=POLL_S)


def missing(stack: Stack) -> list[str]:
    """Return what is not as it is when nothing fails."""
    found = service_health.unhealthy(stack)
    if not found:
        found = [one for one, is_whole in WHOLE.items() if not _suppressed(is_whole, stack)]
    assert not found, found
    return found


def _suppressed(probe: Callable[[Stack], bool], stack: Stack) -> bool:
    with contextlib.suppress(
        Unavailable, psycopg.Error, redis.exceptions.RedisError, OSError, HTTPException, KeyError
    ):
        return probe(stack)
    return False


def done(where: Container, *command: str) -> str:
    """Run a command in a container; returns what it said. It may end the container."""
    ran = where.exec_run([*command])
    said = ran.output.decode(errors="replace") if isinstance(ran.output, bytes) else ""
    assert ran.exit_code in (0, KILLED), f"{command}: {ran.exit_code} {said[-500:]}"
    return said


def _postgres_leader(stack: Stack) -> str:
    for one in members(stack, "postgres"):
        for port in addresses.ports(stack, name(one), 5432):
            dsn = (
                f"host=127.0.0.1 port={port} user={USER} password={stack.postgres_password}"
                " dbname=postgres connect_timeout=2 target_session_attrs=read-write"
            )
            with contextlib.suppress(psycopg.Error), psycopg.connect(dsn):
                return name(one)
    raise Unavailable("postgres", "no member is the primary")


def _keydb_leader(stack: Stack) -> str:
    return addresses.keydb_primary(addresses.members(stack, "sentinel", addresses.SENTINEL_PORT))


def queue_state(stack: Stack) -> dict[str, Any]:
    """Return what the first broker that answers says of the queue, which may be seconds old."""
    login = base64.b64encode(f"{USER}:{stack.rabbitmq_password}".encode()).decode()
    for port in addresses.members(stack, "rabbitmq", 15672):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/queues/%2F/{QUEUE}",
            headers={"Authorization": f"Basic {login}"},
        )
        with (
            contextlib.suppress(OSError, HTTPException, ValueError),
            urllib.request.urlopen(request, timeout=ANSWER_S) as answer,  # noqa: S310 - ours
        ):
            return dict(json.loads(answer.read()))
    raise Unavailable("rabbitmq", "no broker answers")


def _rabbitmq_leader(stack: Stack) -> str:
    # Not its `leader`: of a broker that led and died a page may say for minutes that it still does.
    found = queue_state(stack).get("node")
    if not found:
        raise Unavailable("rabbitmq", "the queue has no leader")
    return str(found).partition("@")[2]


def _etcd_leader(stack: Stack) -> str:
    for one in members(stack, "etcd"):
        with contextlib.suppress(AssertionError, APIError):
            said = done(one, "etcdctl", "endpoint", "status", "--cluster", "--write-out=json")
            for status in json.loads(said):
                answer = status["Status"]
                if answer["header"]["member_id"] == answer["leader"]:
                    return str(status["Endpoint"]).partition("//")[2].partition(":")[0]
    raise Unavailable("postgres", "no etcd leads")


def _postgres_whole(stack: Stack) -> bool:
    with psycopg.connect(addresses.postgres_dsn(stack, "probe"), autocommit=True) as conn:
        return conn.execute(STREAMING).fetchone() == (SIZE - 1, 1)


def _rabbitmq_whole(stack: Stack) -> bool:
    return len(queue_state(stack)["online"]) == SIZE


def _keydb_whole(stack: Stack) -> bool:
    port = addresses.keydb_port(stack)
    with redis.Redis("127.0.0.1", port, socket_timeout=ANSWER_S) as store:
        found = store.info("replication")
        return (found["role"], found["connected_slaves"]) == ("master", SIZE - 1)


LEADERS: dict[Cluster, Callable[[Stack], str]] = {
    "postgres": _postgres_leader,
    "rabbitmq": _rabbitmq_leader,
    "keydb": _keydb_leader,
    "etcd": _etcd_leader,
}
WHOLE: dict[str, Callable[[Stack], bool]] = {
    "postgres": _postgres_whole,
    "rabbitmq": _rabbitmq_whole,
    "keydb": _keydb_whole,
}
