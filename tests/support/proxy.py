"""A TCP proxy that can lose one reply, or be down: what a network does to a client."""

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
        self._eating: bytes | None = None
        self.eaten = 0
        self.port: int = self._listener.getsockname()[1]

    def eat_reply_to(self, command: bytes) -> None:
        """Forward the next request that holds `command`, then lose its reply and hang up.

        An error is passed on: what was refused was not done.
        """
        self._eating = command

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
                        server.sendall(data)
                    elif self._eats(asked, data):
                        return
                    else:
                        client.sendall(data)

    def _eats(self, asked: bytes, reply: bytes) -> bool:
        if self._eating is None or self._eating not in asked or reply.startswith(b"-"):
            return False
        self._eating = None
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
