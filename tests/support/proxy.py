"""A TCP proxy that can lose replies, hold a request, or be down: what networks do to clients."""

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

CHUNK = 65_536
POLL_S = 0.05


class Proxy:
    """Leads to one server. One thread, one client at a time, as our own clients use it."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        """Listen on any free port of 127.0.0.1."""
        self._upstream = upstream
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(POLL_S)
        self._stop = threading.Event()
        self._down = threading.Event()
        self._eating = b""
        self._left = 0
        self._holding = b""
        self._released = threading.Event()
        self.held = threading.Event()
        """Set once a request is held."""
        self.eaten = 0
        self.port: int = self._listener.getsockname()[1]

    def lead_to(self, upstream: tuple[str, int]) -> None:
        """Lead new connections to another server; the one that stands goes on to the old one."""
        self._upstream = upstream

    def eat_reply_to(self, command: bytes, times: int = 1) -> None:
        """Forward the next requests that hold `command`, then lose their replies and hang up.

        An error is passed on: what was refused was not done.
        """
        self._eating, self._left = command, times

    def hold(self, command: bytes) -> None:
        """Keep the next request that holds `command`, and all after it, until `release`."""
        self._holding = command

    def release(self) -> None:
        """Forward what is held, however late."""
        self._released.set()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Hang up on everyone while inside."""
        self._down.set()
        try:
            yield
        finally:
            self._down.clear()

    def serve(self) -> None:
        """Accept one client after another until told to stop."""
        with self._listener:
            while not self._stop.is_set():
                with contextlib.suppress(TimeoutError):
                    client, _ = self._listener.accept()
                    with client, contextlib.suppress(OSError):
                        self._relay(client)

    def stop(self) -> None:
        """Let `serve` return."""
        self._stop.set()
        self._released.set()

    def _relay(self, client: socket.socket) -> None:
        if self._down.is_set():
            return
        with (
            socket.create_connection(self._upstream) as server,
            selectors.DefaultSelector() as ready,
        ):
            ready.register(client, selectors.EVENT_READ)
            ready.register(server, selectors.EVENT_READ)
            asked = b""
            while not (self._stop.is_set() or self._down.is_set()):
                for key, _ in ready.select(POLL_S):
                    source = server if key.fileobj is server else client
                    data = source.recv(CHUNK)
                    if not data:
                        return
                    if source is client:
                        asked = data
                        self._hold(data)
                        server.sendall(data)
                    elif self._eats(asked, data):
                        return
                    else:
                        client.sendall(data)

    def _hold(self, data: bytes) -> None:
        if self._holding and self._holding in data:
            self._holding = b""
            self.held.set()
            self._released.wait()

    def _eats(self, asked: bytes, reply: bytes) -> bool:
        if not self._left or self._eating not in asked or reply.startswith(b"-"):
            return False
        self._left -= 1
        self.eaten += 1
        return True


@contextlib.contextmanager
def proxying(url: str) -> Iterator[tuple[Proxy, str]]:
    """Yield a proxy before the server of `url`, and the URL that leads through it."""
    parts = urlsplit(url)
    proxy = Proxy((parts.hostname or "", parts.port or 0))
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    try:
        login, at, _ = parts.netloc.rpartition("@")
        yield proxy, parts._replace(netloc=f"{login}{at}127.0.0.1:{proxy.port}").geturl()
    finally:
        proxy.stop()
        thread.join()
