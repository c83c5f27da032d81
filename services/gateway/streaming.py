"""`GET /v1/ticks/stream`: server-sent events, one for each tick that is shown."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import StreamingResponse

from services.gateway import http_request, metrics, tokens
from services.gateway.problems import Problem
from services.gateway.ticks import Ticks
from services.gateway.tokens import Token

STREAMS_MAX = 200
EPOCH_DIGITS_MAX = 18
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""The second is what nginx reads: otherwise it would keep events until it has many."""


@dataclass(slots=True)
class Streamer:
    """Streams to who may read."""

    ticks: Ticks
    tokens: Sequence[Token]
    open: int = 0

    async def stream(self, request: Request) -> StreamingResponse:
        """Tell ticks as they are shown; with Last-Event-ID those since that one, too."""
        found = http_request.of(request.scope)
        found.kind = "stream"
        found.by = tokens.authorize(self.tokens, found.header(b"authorization"), "read")
        last = found.header(b"last-event-id") or ""
        fits = last.isascii() and last.isdigit() and len(last) <= EPOCH_DIGITS_MAX
        if self.open >= STREAMS_MAX:
            detail = f"{STREAMS_MAX} streams are open, which is the most there may be"
            raise Problem(429, "too_many_streams", detail, retry_after_s=5)
        events = self._events(int(last) if fits else None)
        return StreamingResponse(events, 200, HEADERS, "text/event-stream")

    async def _events(self, after: int | None) -> AsyncIterator[bytes]:
        self._count(1)
        try:
            async for one in self.ticks.after(after):
                yield one
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        self.open += change
        metrics.STREAMS.set(self.open)
