"""The broker's start: users, rights and policy from the environment and from files."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pika
import pytest
from docker.models.containers import Container
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError

from shared.amqp import ticks
from shared.amqp.channel import ORDERED
from tests.support import containers, servers

HEALTHY = ["bash", "/opt/minutebook/healthy.sh"]
"""The health check of compose.yaml."""
ODD = "p\"a\\s$s' &%s[é]"
QUEUE, STREAM = "orders.v1+(new)", "orders.stream"
LIMITS = ("delivery-limit", "max-length-bytes", "overflow")
MAX_BYTES = 2**30
BOUNDED = {
    "changes.billing": "drop-head", "notifications.mail": "reject-publish",
    "notifications.delivered": "reject-publish", "alerts": "reject-publish",
    "prices": "reject-publish", "replies.them": "reject-publish",
    "requests": "reject-publish", "sightings": "reject-publish",
}  # fmt: skip
"""What happens to more than a queue of these names may hold."""


def connect(container: Container, user: str, password: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(
        pika.ConnectionParameters(
            port=containers.published_port(container, 5672),
            credentials=pika.PlainCredentials(user, password),
        )
    )


def may_connect(container: Container, user: str, password: str) -> bool:
    try:
        connect(container, user, password).close()
    except ProbableAuthenticationError:
        return False
    return True


def wait_for(container: Container) -> None:
    containers.await_success(container, HEALTHY)


@contextlib.contextmanager
def refused(user: str) -> Iterator[None]:
    with pytest.raises(ChannelClosedByBroker, match=f"refused for user '{user}'"):
        yield


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    (tmp_path / "ingest").write_text(f"{ODD}\n")
    tmp_path.chmod(0o755)
    return tmp_path


@pytest.fixture
def broker(engine: docker.DockerClient, secrets: Path) -> Iterator[Container]:
    """A broker with an odd password in a file, odd names, and without an operator's user."""
    options = servers.rabbitmq_options()
    options["environment"] |= {
        "RABBITMQ_INGEST_PASSWORD_FILE": "/secrets/ingest",
        "RABBITMQ_TICKER_PASSWORD": ODD,
        "RABBITMQ_OPS_PASSWORD": "",
        "INGEST_QUEUE": QUEUE,
        "INGEST_STREAM": STREAM,
    }
    options["volumes"][str(secrets)] = {"bind": "/secrets", "mode": "ro"}
    with containers.running(engine, "RABBITMQ_IMAGE", **options) as container:
        wait_for(container)
        yield container


def test_odd_passwords_and_names_hold_and_a_changed_password_counts_from_the_next_start_on(
    broker: Container, secrets: Path
) -> None:
    assert may_connect(broker, "ticker", ODD)
    assert not may_connect(broker, "ops", "")
    assert not may_connect(broker, "guest", "guest")
    with connect(broker, "ingest", ODD) as connection:
        for name in (QUEUE, STREAM):
            connection.channel().queue_declare(name, durable=True)
        for alike in ("ordersxv1+(new)", "orders.v1+(new).x", "ordersxstream"):
            with refused("ingest"):
                connection.channel().queue_declare(alike, durable=True)
    with connect(broker, servers.USER, servers.PASSWORD) as connection:
        connection.channel().queue_declare(ticks.QUEUE, durable=True)
        for name in ("others", *BOUNDED):
            arguments = ORDERED if name == "alerts" else None
            connection.channel().queue_declare(name, durable=True, arguments=arguments)
    unbounded = {QUEUE: (-1, None, None), ticks.QUEUE: (-1, None, None)}
    nobody_s = {STREAM: (None, None, None), "others": (None, None, None)}
    bounded = {name: (-1, MAX_BYTES, overflow) for name, overflow in BOUNDED.items()}
    assert limits(broker) == unbounded | nobody_s | bounded

    (secrets / "ingest").write_text("changed")
    broker.restart()
    wait_for(broker)

    assert may_connect(broker, "ingest", "changed")
    assert not may_connect(broker, "ingest", ODD)


def limits(broker: Container) -> dict[str, tuple[int | None, int | None, str | None]]:
    """Return each queue's delivery limit, bytes and overflow as its policy sets them."""
    limit = {
        policy: tuple(map(json.loads(definition).get, LIMITS))
        for _vhost, policy, _pattern, _applies_to, definition, _priority in listed(
            broker, "list_policies"
        )
    }
    return {
        queue: limit.get(policy, (None, None, None))
        for queue, policy in listed(broker, "list_queues", "name", "policy")
    }


def listed(broker: Container, *command: str) -> list[list[str]]:
    """Return the rows of what the broker's tool lists."""
    answer = broker.exec_run(["rabbitmqctl", "--quiet", "--no-table-headers", *command])
    assert isinstance(answer.output, bytes)
    return [line.split("\t") for line in answer.output.decode().splitlines()]
