"""HTTP/1.1 as uvicorn speaks it, with limits for connections, heads, and answers that nobody reads.

uvicorn itself waits without limit: for a head, however slowly it comes and however long it gets,
and for browsers to read what they asked for. A laptop that sleeps is no viewer.
"""

import asyncio

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

CONNECTIONS_MAX = 600
HEAD_BYTES_MAX = 32_768
HEAD_WITHIN_S = 10.0
READ_WITHIN_S = 30.0
"""For so long a browser may take nothing of what waits for it."""
KEEP_ALIVE_S = 75
"""Above what clients and proxies keep idle connections open for: it is theirs to close them, since
who asks again at the moment that we close is told that the connection was reset."""
GRACE_S = 5


class Protocol(HttpToolsProtocol):
    """One connection."""

    _timer: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head, unless there are too many connections already."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(503)
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._head_done()
        self._was_read()

    def data_received(self, data: bytes) -> None:
        """Take what has come, as long as the head is not too large."""
        if self.transport.is_closing():
            return
        self._head_bytes += len(data)
        super().data_received(data)
        if self._timer and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(431)

    def on_message_begin(self) -> None:
        """Have the head come in time, from its first byte on."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Refuse a head that is too large, also one that came all at once."""
        self._head_done()
        if sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
            self._refuse(431)
        elif self.parser.should_upgrade():  # its body would be taken for the next request
            self._refuse(400)
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take what comes next for a head."""
        super().on_message_complete()
        self._head_bytes = 0

    def pause_writing(self) -> None:
        """Have what was answered read in time."""
        super().pause_writing()
        self._unread = self.loop.call_later(READ_WITHIN_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: most of it was read."""
        super().resume_writing()
        self._was_read()

    def timeout_keep_alive_handler(self) -> None:
        """Hang up on who is idle, but first see what has come: on a busy machine something may."""
        self.timeout_keep_alive_task = self.loop.call_later(0, super().timeout_keep_alive_handler)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; `msg` is no more than that."""
        del msg
        self._refuse(400)

    def _await_head(self) -> None:
        self._head_done()
        self._timer = self.loop.call_later(HEAD_WITHIN_S, self._refuse, 408)

    def _head_done(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _was_read(self) -> None:
        if self._unread:
            self._unread.cancel()
            self._unread = None

    def _refuse(self, status: int) -> None:
        """Answer at once, and hang up."""
        self._head_done()
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"connection: close\r\n\r\n")
            self.transport.close()


def config(app: ASGIApp, trusted_proxies: str = "") -> uvicorn.Config:
    """Return how the console is served; `trusted_proxies` say for whom they ask, and how."""
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),  # anybody else may write them, too
        forwarded_allow_ips=trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
