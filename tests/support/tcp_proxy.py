"""A TCP relay for many clients that delays, cuts in the middle of a message, and eats replies.

Steered while it runs: each order is carried out once, on whoever it meets first. The standard
library is all it needs, so that it can run beside a stack, in a container of our own image.
"""

import contextlib
import re
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

CHUNK = 65_536
POLL_S = 0.05
CONNECT_TIMEOUT_S = 5.0
CLIENTS_MAX = 32
# Closing then sends RST, as a host does that was switched off and on again.
RESET = struct.pack("ii", 1, 0)
# Who is behind us must not seem alive for longer than it would without us.
ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 15_000}
# How Postgres and KeyDB begin to say that they refuse.
REFUSALS = (b"E", b"-")

Kind = Literal["reply", "request", "half", "text", "answer", "delay"]


@dataclass
class Order:
    """What to do to the next message that `pattern` is found in; `hits` says how often it was.

    `reply`: forward the request, lose its reply and reset the connection; a refusal is passed on,
    since what was refused was not done, and the next one is waited for. `request`: reset instead
    of forwarding. `half`: forward one half of the request and reset. `text`: the server says it,
    and the connection is reset in the middle of it. `answer`: the server says it, and it is lost
    with all that came with it. `delay`: until `ends_at` keep whatever comes, either way, for
    `each_way_s` at least; the hits are only counted.
    """

    kind: Kind
    pattern: re.Pattern[bytes]
    each_way_s: float = 0.0
    ends_at: float = 0.0
    hits: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def carried_out(self) -> None:
        """Note that it was."""
        self.hits += 1
        self.done.set()


class Link:
    """Leads to one server."""

    def __init__(
        self, upstream: tuple[str, int], listen: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        """Listen, on any free port of 127.0.0.1 unless told otherwise."""
        self._upstream = upstream
        self._listener = socket.create_server(listen)
        self._listener.settimeout(POLL_S)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._orders: dict[Kind, Order] = {}
        self._passages: set[_Passage] = set()
        self.cuts = 0
        """How many orders were carried out by cutting a connection."""
        self.port: int = self._listener.getsockname()[1]

    def lose_reply_to(self, request: bytes) -> Order:
        """Forward the next request that holds `request`, lose its reply, reset the connection."""
        return self.give(Order("reply", re.compile(re.escape(request))))

    def lose(self, request: bytes) -> Order:
        """Reset the connection instead of forwarding the next request that holds `request`."""
        return self.give(Order("request", re.compile(re.escape(request))))

    def cut_within(self, text: bytes) -> Order:
        """Reset the connection in the middle of the next `text` that the server sends."""
        return self.give(Order("text", re.compile(re.escape(text))))

    def give(self, order: Order) -> Order:
        """Have `order` carried out from now on, in the place of an older one of its kind."""
        with self._lock:
            self._orders[order.kind] = order
        return order

    def take_back(self, order: Order) -> None:
        """Have `order` carried out no more."""
        with self._lock:
            if self._orders.get(order.kind) is order:
                del self._orders[order.kind]

    def serve(self) -> None:
        """Accept clients until told to stop."""
        with self._listener, ThreadPoolExecutor(2 * CLIENTS_MAX) as pool:
            while not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    client, _ = self._listener.accept()
                    pool.submit(self._relay, client, pool)

    def stop(self) -> None:
        """Let `serve` return."""
        self._stop.set()
        with self._lock:
            for passage in self._passages:
                passage.close()

    def due(self, kind: Kind, data: bytes) -> tuple[Order, re.Match[bytes]] | None:
        """Return the order that `data` calls for, which is now its finder's, and where it lies."""
        with self._lock:
            order = self._orders.get(kind)
            found = order.pattern.search(data) if order else None
            if order is None or found is None:
                return None
            del self._orders[kind]
            return order, found

    def slowly(self, data: bytes) -> None:
        """Keep `data` for as long as an order says."""
        order = self._orders.get("delay")
        if order and time.monotonic() < order.ends_at:
            order.hits += bool(order.pattern.search(data))
            self._stop.wait(order.each_way_s)

    def _relay(self, client: socket.socket, pool: ThreadPoolExecutor) -> None:
        with client:
            try:
                server = socket.create_connection(self._upstream, CONNECT_TIMEOUT_S)
            except OSError:
                reset(client)
                return
            with server:
                passage = _Passage(self, client, server)
                with self._lock:
                    self._passages.add(passage)
                back = pool.submit(passage.replies)
                passage.requests()
                back.result()
                with self._lock:
                    self._passages.discard(passage)


class _Passage:
    """One client and its connection to the server: a thread each way, so that neither waits."""

    def __init__(self, link: Link, client: socket.socket, server: socket.socket) -> None:
        self._link, self._client, self._server = link, client, server
        self._doomed: Order | None = None
        self._ended = threading.Event()
        for one in (client, server):
            _keep_alive(one)

    def requests(self) -> None:
        """Forward what the client says."""
        for data in self._heard(self._client):
            if self._request(data):
                self._server.sendall(data)

    def replies(self) -> None:
        """Forward what the server says."""
        for data in self._heard(self._server):
            if not self._eaten(data):
                self._client.sendall(data)

    def close(self) -> None:
        """End both directions, whatever they wait for."""
        self._ended.set()
        for one in (self._client, self._server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _heard(self, source: socket.socket) -> Iterator[bytes]:
        try:
            with selectors.DefaultSelector() as ready:
                ready.register(source, selectors.EVENT_READ)
                while not self._ended.is_set():
                    if not ready.select(POLL_S):
                        continue
                    data = source.recv(CHUNK)
                    if not data:
                        break
                    self._link.slowly(data)
                    yield data
        except (OSError, ValueError):  # a socket closed by the other direction
            pass
        finally:
            self.close()

    def _request(self, data: bytes) -> bool:
        """Say whether to forward `data`."""
        if found := self._link.due("request", data):
            return self._cut(found[0])
        if found := self._link.due("half", data):
            self._server.sendall(data[: len(data) // 2])
            return self._cut(found[0])
        # Before it is forwarded: the reply must not be quicker than this note.
        if found := self._link.due("reply", data):
            self._doomed = found[0]
        return True

    def _eaten(self, data: bytes) -> bool:
        """Say that `data` must not be forwarded."""
        doomed, self._doomed = self._doomed, None
        if doomed and data.startswith(REFUSALS):
            self._link.give(doomed)
        elif doomed:
            return not self._cut(doomed)
        if found := self._link.due("text", data):
            order, place = found
            self._client.sendall(data[: (place.start() + place.end()) // 2])
            return not self._cut(order)
        if found := self._link.due("answer", data):
            return not self._cut(found[0])
        return False

    def _cut(self, order: Order) -> bool:
        """Reset the connection; nothing more is forwarded."""
        self._link.cuts += 1
        reset(self._client)
        self._ended.set()
        order.carried_out()
        return False


def reset(client: socket.socket) -> None:
    """Close a connection as a host does that knows nothing of it."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()


def _keep_alive(one: socket.socket) -> None:
    one.settimeout(None)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in ALIVE.items():
        if hasattr(socket, name):  # not every system has each
            one.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
