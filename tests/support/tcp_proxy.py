"""A TCP proxy before a server: it delays, holds, cuts in the middle of a message, loses replies.

A test says while it runs what is to happen; it happens to the first message that fits. Only the
standard library is used, so that it can run beside a stack, in a container of our own image.
"""

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from tests.support.beside import beside
from tests.support.disturbances import Disturbance, Disturbances

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


class TcpProxy(Disturbances):
    """Leads to one server."""

    def __init__(
        self, upstream: tuple[str, int], listen: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        """Listen, on any free port of 127.0.0.1 unless told otherwise."""
        super().__init__()
        self._upstream = upstream
        self._listener = socket.create_server(listen)
        self._listener.settimeout(POLL_S)
        self._stop = threading.Event()
        self._is_down = threading.Event()
        self._thawed = threading.Event()
        self._thawed.set()
        self._connected = threading.Lock()
        self._connections: set[_Connection] = set()
        self.port: int = self._listener.getsockname()[1]

    def lead_to(self, upstream: tuple[str, int]) -> None:
        """Lead new connections to another server; those that stand go on to the old one."""
        self._upstream = upstream

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Hang up on everyone while inside."""
        self._is_down.set()
        self._hang_up()
        try:
            yield
        finally:
            self._is_down.clear()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Accept everyone and forward nothing while inside: so a server is that was stopped."""
        self._thawed.clear()
        try:
            yield
        finally:
            self._thawed.set()

    def is_frozen(self) -> bool:
        """Say whether nothing is forwarded now."""
        return not self._thawed.is_set()

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
        self.release()
        self._hang_up()

    def _hang_up(self) -> None:
        with self._connected:
            for one in self._connections:
                one.close()

    def _relay(self, client: socket.socket, pool: ThreadPoolExecutor) -> None:
        with client:
            if self._is_down.is_set():
                return
            try:
                server = socket.create_connection(self._upstream, CONNECT_TIMEOUT_S)
            except OSError:
                reset(client)
                return
            with server:
                connection = _Connection(self, client, server)
                with self._connected:
                    self._connections.add(connection)
                replies = pool.submit(connection.forward_replies)
                connection.forward_requests()
                replies.result()
                with self._connected:
                    self._connections.discard(connection)


class _Connection:
    """One client and its connection to the server: a thread each way, so that neither waits."""

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._reply_lost_by: Disturbance | None = None
        self._ended = threading.Event()
        for one in (client, server):
            _keep_alive(one)

    def forward_requests(self) -> None:
        """Forward what the client says."""
        for data in self._received(self._client):
            if self._may_go_on(data):
                self._server.sendall(data)

    def forward_replies(self) -> None:
        """Forward what the server says."""
        for data in self._received(self._server):
            if not self._is_lost(data):
                self._client.sendall(data)

    def close(self) -> None:
        """End both directions, whatever they wait for."""
        self._ended.set()
        for one in (self._client, self._server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _received(self, source: socket.socket) -> Iterator[bytes]:
        try:
            with selectors.DefaultSelector() as ready:
                ready.register(source, selectors.EVENT_READ)
                while not self._ended.is_set():
                    if self._proxy.is_frozen():
                        self._ended.wait(POLL_S)
                        continue
                    # What comes while it waits here is for the frozen, too.
                    if not ready.select(POLL_S) or self._proxy.is_frozen():
                        continue
                    data = source.recv(CHUNK)
                    if not data:
                        break
                    self._proxy.delay(data)
                    yield data
        except (OSError, ValueError):  # a socket closed by the other direction
            pass
        finally:
            self.close()

    def _may_go_on(self, data: bytes) -> bool:
        """Say whether to forward a request."""
        if found := self._proxy.due("request", data):
            return self._cut(found[0])
        if found := self._proxy.due("half", data):
            self._server.sendall(data[: len(data) // 2])
            return self._cut(found[0])
        if found := self._proxy.due("hold", data):
            found[0].happened()
            self._proxy.wait_for_release()
        # Before it is forwarded: the reply must not be quicker than this note.
        if found := self._proxy.due("reply", data):
            self._reply_lost_by = found[0]
        return True

    def _is_lost(self, data: bytes) -> bool:
        """Say that a reply must not be forwarded."""
        wanted, self._reply_lost_by = self._reply_lost_by, None
        if wanted and data.startswith(REFUSALS):
            wanted.times += 1
            self._proxy.disturb(wanted)
        elif wanted:
            return not self._cut(wanted)
        if found := self._proxy.due("text", data):
            disturbance, place = found
            self._client.sendall(data[: (place.start() + place.end()) // 2])
            return not self._cut(disturbance)
        if found := self._proxy.due("answer", data):
            return not self._cut(found[0])
        return False

    def _cut(self, disturbance: Disturbance) -> bool:
        """Reset the connection; nothing more is forwarded."""
        self._proxy.cuts += 1
        reset(self._client)
        self._ended.set()
        disturbance.happened()
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


@contextlib.contextmanager
def proxying(url: str) -> Iterator[tuple[TcpProxy, str]]:
    """Yield a proxy before the server of `url`, and the URL that leads through it."""
    parts = urlsplit(url)
    proxy = TcpProxy((parts.hostname or "", parts.port or 0))
    login, at, _ = parts.netloc.rpartition("@")
    with beside(proxy.serve, proxy.stop):
        yield proxy, parts._replace(netloc=f"{login}{at}127.0.0.1:{proxy.port}").geturl()
