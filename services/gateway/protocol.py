"""HTTP/1.1 as uvicorn speaks it, with deadlines and limits for heads and for unread answers.

uvicorn itself waits without limit: for a head, however slowly it comes and however long it gets,
and for clients to read what they asked for.
"""

import asyncio
import re
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from services.gateway import metrics, problems
from services.gateway.problems import Problem, Reason

HEAD_BYTES_MAX = 32_768
UPGRADE = re.compile(rb"\r\nupgrade(?=[ \t]*:)", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """One connection. The limits are of the class: uvicorn makes the objects."""

    head_within_s: ClassVar[float]
    answer_within_s: ClassVar[float]
    connections_max: ClassVar[int]
    unread_bytes_max: ClassVar[int]

    _unread: ClassVar[dict["Protocol", asyncio.TimerHandle]] = {}
    """Connections whose clients do not read as fast as we answer: the oldest first."""

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    _begun = False
    """Whether anything of a head has come."""
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head, unless there are too many connections already."""
        super().connection_made(transport)
        metrics.CONNECTIONS.set(len(self.connections))
        if len(self.connections) > self.connections_max:
            detail = "too many connections (GATEWAY_CONNECTIONS_MAX)"
            self._refuse(Problem(503, "too_many_connections", detail, retry_after_s=1))
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        metrics.CONNECTIONS.set(len(self.connections))
        self._head_done()
        self._was_read()

    def data_received(self, data: bytes) -> None:
        """Take what has come, as long as the head is not too large."""
        if self.transport.is_closing():
            return
        if self._in_head:
            self._head_bytes += len(data)
            data = _without_upgrade(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(_head_too_large())
        elif self._begun and self._timer is None:  # most heads come whole: no timer for them
            self._await_head()

    def on_message_begin(self) -> None:
        """Have the head come in time, from its first byte on."""
        super().on_message_begin()
        self._head_bytes = 0
        self._begun = True

    def on_headers_complete(self) -> None:
        """Refuse a head that is too large, also one that came all at once."""
        self._head_done()
        if sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES_MAX:
            self._refuse(_head_too_large())
        elif self.parser.should_upgrade():  # its body would be taken for the next request
            self._refuse(Problem(400, "bad_request", "to upgrade or CONNECT is not possible"))
        else:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take what comes next for a head."""
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def pause_writing(self) -> None:
        """Have the client read what was answered in time, and all clients leave not too much."""
        super().pause_writing()
        self._unread[self] = self.loop.call_later(self.answer_within_s, self._hang_up, "timeout")
        while sum(map(_unread_bytes, self._unread)) > self.unread_bytes_max:
            next(iter(self._unread))._hang_up("too_many_requests")  # noqa: SLF001 - one of us

    def resume_writing(self) -> None:
        """Go on: most of it was read."""
        super().resume_writing()
        self._was_read()

    def timeout_keep_alive_handler(self) -> None:
        """Hang up on who is idle, but first see what has come: on a busy machine something may."""
        close = super().timeout_keep_alive_handler
        # Not 0: uvloop would call it before it looks at its sockets.
        self.timeout_keep_alive_task = self.loop.call_later(0.001, close)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(Problem(400, "bad_request", msg))

    def _was_read(self) -> None:
        if timer := self._unread.pop(self, None):
            timer.cancel()

    def _hang_up(self, reason: Reason) -> None:
        """Give up on a client that does not read, and what it was to read."""
        self._was_read()
        metrics.REFUSED.labels(reason).inc()
        self.transport.abort()

    def _await_head(self) -> None:
        self._in_head = True
        self._timer = self.loop.call_later(self.head_within_s, self._too_slow)

    def _head_done(self) -> None:
        self._in_head = self._begun = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        detail = f"the head did not come in {self.head_within_s:g} s (GATEWAY_HEAD_SECONDS)"
        self._refuse(Problem(408, "timeout", detail))

    def _refuse(self, problem: Problem) -> None:
        """Answer at once, and hang up."""
        self._head_done()
        if self.transport.is_closing():
            return
        metrics.REFUSED.labels(problem.reason).inc()
        body = problem.body()
        headers = {
            "content-type": problems.MEDIA_TYPE,
            "content-length": str(len(body)),
            "connection": "close",
            **problem.headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(b"".join((STATUS_LINE[problem.status], lines.encode(), b"\r\n", body)))
        self.transport.close()


def _unread_bytes(one: Protocol) -> int:
    return one.transport.get_write_buffer_size()


def _without_upgrade(data: bytes) -> bytes:
    """Return a head without the wish to speak something else, which a server may ignore.

    Java's own client has it in each request; the parser would leave the body out.
    """
    if not UPGRADE.search(data):
        return data
    head, end, rest = data.partition(b"\r\n\r\n")
    return UPGRADE.sub(b"\r\nx-not-upgraded", head) + end + rest


def _head_too_large() -> Problem:
    return Problem(431, "head_too_large", f"the head has more than {HEAD_BYTES_MAX} bytes")
