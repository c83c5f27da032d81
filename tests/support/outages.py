"""Outages on purpose: servers of one's own to stop, and traffic meanwhile."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import docker
import pika
from docker.models.containers import Container

from tests.support import messages
from tests.support.programs import Program

BURSTS_PER_S = 20
NEVER_GIVEN = range(10_000, 32_768)
"""Ports below those that Linux gives by itself."""


class FixedPorts:
    """Stands in for the engine: its container keeps its ports when it is stopped and started."""

    def __init__(self, engine: docker.DockerClient, **extra: Any) -> None:
        """`extra` are further options of the container."""
        self._engine = engine
        self._extra = extra
        self.containers = self
        self.container: Container

    def run(self, image: str, **options: Any) -> Container:
        """Run a container as the engine would, on free ports that stay its own."""
        ports = {inner: (host, free_port()) for inner, (host, _) in options.pop("ports").items()}
        found = self._engine.containers.run(image, ports=ports, **options, **self._extra)
        self.container = cast("Container", found)
        return self.container

    def engine(self) -> docker.DockerClient:
        """Return itself under the type that the builders of servers ask for."""
        return cast("docker.DockerClient", self)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody has at the moment.

    None of those that the system gives to connections: one of these would have it while the
    container that it is for is stopped.
    """
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_server(("127.0.0.1", random.choice(NEVER_GIVEN))) as server,
        ):
            return int(server.getsockname()[1])


class Traffic:
    """Transactions of provider 1 with values 1, 2, …, published at a steady rate."""

    def __init__(self, per_s: int, *, identities: bool = True) -> None:
        """`per_s` messages a second, with or without identity."""
        self._burst = per_s // BURSTS_PER_S
        self._identities = identities
        self._stop = threading.Event()
        self.sent = 0

    def publish(self, amqp_url: str) -> None:
        """Publish until told to stop."""
        with messages.channel(amqp_url) as producer:
            producer.queue_declare(messages.QUEUE, durable=True)
            while not self._stop.wait(1 / BURSTS_PER_S):
                for number in range(self.sent + 1, self.sent + self._burst + 1):
                    identity = f"traffic-{number}" if self._identities else None
                    properties = pika.BasicProperties(delivery_mode=2, message_id=identity)
                    text = messages.body(1, number)
                    producer.basic_publish("", messages.QUEUE, text, properties)
                self.sent += self._burst

    def stop(self) -> None:
        """Let `publish` return."""
        self._stop.set()

    def rows(self) -> list[tuple[int, int]]:
        """Return the rows that come of what was sent, each once."""
        return [(1, number) for number in range(1, self.sent + 1)]


@contextlib.contextmanager
def flowing(amqp_url: str, per_s: int, *, identities: bool = True) -> Iterator[Traffic]:
    """Publish while inside."""
    traffic = Traffic(per_s, identities=identities)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(traffic.publish, amqp_url)
        try:
            yield traffic
        finally:
            traffic.stop()
        done.result()


def mebibytes(program: Program, field: str = "VmHWM") -> float:
    """Return the program's memory: its peak (VmHWM), or what it has now (VmRSS)."""
    status = Path(f"/proc/{program.process.pid}/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def reconnects(program: Program) -> int:
    """Return how often the program has tried to reach a server again."""
    return program.logs().count('"event": "reconnecting"')


@contextlib.contextmanager
def afterwards(call: Callable[[], object]) -> Iterator[None]:
    """Call `call` at the end, whatever happened inside."""
    try:
        yield
    finally:
        call()
