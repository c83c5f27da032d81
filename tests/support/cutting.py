"""Outages on purpose: a link that is cut, servers of one's own to stop, traffic meanwhile."""

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import docker
import pika
from docker.models.containers import Container

from tests.support import messages
from tests.support.programs import Program

CHUNK = 65_536
POLL_S = 0.05
CLIENTS_MAX = 32
BURSTS_PER_S = 20
# Closing then sends RST, as a host does that was switched off and on again.
RESET = struct.pack("ii", 1, 0)


class Link:
    """A TCP proxy for many clients; each order is carried out once, on whoever it meets first."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        """Listen on any free port of 127.0.0.1."""
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL_S)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._orders: dict[str, bytes] = {}
        self.cuts = 0
        """How many orders were carried out."""
        self.port: int = self._listener.getsockname()[1]

    def lose_reply_to(self, request: bytes) -> None:
        """Forward the next request that holds `request`, lose its reply, reset the connection."""
        self._orders["reply"] = request

    def lose(self, request: bytes) -> None:
        """Reset the connection instead of forwarding the next request that holds `request`."""
        self._orders["request"] = request

    def cut_within(self, text: bytes) -> None:
        """Reset the connection in the middle of the next `text` that the server sends."""
        self._orders["text"] = text

    def serve(self) -> None:
        """Accept clients until told to stop."""
        with self._listener, ThreadPoolExecutor(CLIENTS_MAX) as pool:
            while not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    client, _ = self._listener.accept()
                    pool.submit(self._relay, client)

    def stop(self) -> None:
        """Let `serve` return."""
        self._stop.set()

    def _relay(self, client: socket.socket) -> None:
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(self._upstream) as server,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            doomed = False
            while not self._stop.is_set():
                for key, _ in ready.select(POLL_S):
                    source = server if key.fileobj is server else client
                    data = source.recv(CHUNK)
                    if not data or (doomed and source is server and not data.startswith(b"E")):
                        return self._reset(client, ordered=bool(data))
                    if source is server:
                        rest = self._until_cut(data)
                        client.sendall(rest)
                        if len(rest) < len(data):
                            return self._reset(client, ordered=True)
                    elif self._due("request", data):
                        return self._reset(client, ordered=True)
                    else:
                        # Before it is forwarded: the reply must not be quicker than this note.
                        doomed = self._due("reply", data)
                        server.sendall(data)
        return None

    def _reset(self, client: socket.socket, *, ordered: bool) -> None:
        self.cuts += ordered
        if ordered:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def _until_cut(self, data: bytes) -> bytes:
        text = self._orders.get("text", b"")
        return data[: data.rfind(text) + len(text) // 2] if self._due("text", data) else data

    def _due(self, order: str, data: bytes) -> bool:
        with self._lock:
            wanted = self._orders.get(order)
            if wanted is None or wanted not in data:
                return False
            del self._orders[order]
            return True


@contextlib.contextmanager
def link(url: str) -> Iterator[tuple[Link, str]]:
    """Yield a link to the server of `url`, and the URL that leads over it."""
    parts = urlsplit(url)
    found = Link((parts.hostname or "", parts.port or 0))
    thread = threading.Thread(target=found.serve)
    thread.start()
    host = f"127.0.0.1:{found.port}"
    try:
        login, at, _ = parts.netloc.rpartition("@")
        yield found, parts._replace(netloc=f"{login}{at}{host}").geturl()
    finally:
        found.stop()
        thread.join()


class Pinning:
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
    """Return a port of 127.0.0.1 that nobody has at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Traffic:
    """Transactions of provider 1 with values 1, 2, …, published at a steady pace."""

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
def undone(call: Callable[[], object]) -> Iterator[None]:
    """Call `call` at the end, whatever happened inside."""
    try:
        yield
    finally:
        call()
