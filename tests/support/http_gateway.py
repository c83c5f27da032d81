"""The gateway as a process beside single servers, and the queues behind its exchange."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pika
from pika.adapters.blocking_connection import BlockingChannel

from tests.support import programs
from tests.support.eventually import eventually
from tests.support.programs import Program

WRITER, READER = "a-token-that-writes", "a-token-that-reads"
TOKENS = f"shop:{WRITER}:read+write desk:{READER}:read"
TIMEOUT_S = 30.0
EXCHANGE, QUEUES = "gateway", ("requests", "sightings", "alerts")
NOWHERE = "postgresql://user:password@127.0.0.1:1/nowhere"
"""A Postgres that is away: accepting does without it."""


@dataclass(frozen=True)
class Gateway:
    """A running gateway; `client` writes unless it is told otherwise."""

    program: Program
    client: httpx.Client

    @property
    def port(self) -> int:
        """Where clients reach it."""
        return http_port(self.program)

    def post(self, body: bytes | str, media_type: str = "application/json", **headers: str) -> Any:
        """Post transactions; returns the answer."""
        given = {"Content-Type": media_type, **{_header(one): headers[one] for one in headers}}
        return self.client.post("/v1/transactions", content=body, headers=given)

    def send(self, *items: object, **headers: str) -> Any:
        """Post an array of transactions as JSON; returns the answer."""
        return self.post(json.dumps(items), **headers)


def http_port(program: Program) -> int:
    """Return the port for clients; 0 before the gateway has said it."""
    found = [one["http_port"] for one in program.lines() if one["event"] == "listening"]
    return int(found[0]) if found else 0


def settings(amqp_url: str, dsn: str = NOWHERE, **given: str) -> dict[str, str]:
    """Return the environment of a gateway at any free port."""
    return {
        "RABBITMQ_URL": amqp_url, "POSTGRES_DSN": dsn, "GATEWAY_TOKENS": TOKENS,
        "GATEWAY_PORT": "0", "GATEWAY_HOST": "127.0.0.1", **given,
    }  # fmt: skip


@contextlib.contextmanager
def running(amqp_url: str, dsn: str = NOWHERE, **given: str) -> Iterator[Gateway]:
    """Run a gateway while inside, and wait until it serves."""
    with programs.running("services.gateway", **settings(amqp_url, dsn, **given)) as program:
        base = f"http://127.0.0.1:{eventually(lambda: http_port(program))}"
        login = {"Authorization": f"Bearer {WRITER}"}
        with httpx.Client(base_url=base, headers=login, timeout=TIMEOUT_S) as client:
            yield Gateway(program, client)


@contextlib.contextmanager
def accepting(amqp_url: str, dsn: str = NOWHERE, **given: str) -> Iterator[Gateway]:
    """The same, and wait until it can accept."""
    with running(amqp_url, dsn, **given) as gateway:
        eventually(lambda: gateway.client.get("/healthz").status_code == 200)
        yield gateway


@dataclass(frozen=True)
class Queues:
    """What has come to the queues behind the exchange."""

    channel: BlockingChannel

    def take(self, queue: str = "requests") -> tuple[dict[str, Any], pika.BasicProperties] | None:
        """Return and acknowledge the next message: body and properties; None without one."""
        _, properties, body = self.channel.basic_get(queue, auto_ack=True)
        return (json.loads(body), properties) if body is not None and properties else None

    def all(self, queue: str = "requests") -> list[dict[str, Any]]:
        """Return the bodies of all that is there."""
        found: list[dict[str, Any]] = []
        while one := self.take(queue):
            found.append(one[0])
        return found


@contextlib.contextmanager
def queues(
    amqp_url: str, *, bound: bool = True, arguments: dict[str, Any] | None = None
) -> Iterator[Queues]:
    """Make exchange and queues as the broker's definitions do in the virtual host /."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, exchange_type="direct", durable=True)
        for queue in QUEUES if bound else ():
            channel.queue_declare(queue, durable=True, arguments=arguments)
            channel.queue_bind(queue, EXCHANGE, queue)
        yield Queues(channel)


def _header(name: str) -> str:
    return name.replace("_", "-")


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Return status and reason of an answer that is to be a problem document."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["type"].endswith(found["reason"])
    assert found["title"]
    assert found["detail"]
    return answer.status_code, found["reason"]
