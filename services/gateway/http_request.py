"""One request and its answer: its id, what is known of it, and the reading of its body."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from services.gateway.problems import Problem, Reason
from shared.tracing import TRACEPARENT
from shared.unique_ids import time_ordered

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
"""As ASGI has them."""

REQUEST_ID = re.compile(r"[A-Za-z0-9._~:/+=-]{1,128}", re.ASCII)
NAME = "minutebook.http_request"
"""Under which name a scope has its request."""
DRAINED_MAX = 16 * 2**20
DRAIN_WITHIN_S = 5.0
"""What a client that is refused still sends is read up to here: else it may not see the answer."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How large a body may be, how long it may take, and how much all of them may be at once."""

    bytes_max: int
    within_s: float
    bytes_in_hand_max: int


@dataclass(slots=True)
class InHand:
    """Bytes of bodies that were read and are not settled, of all requests."""

    size: int = 0


@dataclass(slots=True)
class HttpRequest:
    """What is known of one request; its parts are filled in as it goes on."""

    scope: Scope
    receive: Receive
    headers: Mapping[bytes, bytes]
    request_id: str
    traceparent: str | None
    started: float = field(default_factory=time.monotonic)
    by: str | None = None
    key: str | None = None
    items: int | None = None
    status: int = 0
    reason: Reason | None = None
    kind: str = "other"
    path: str | None = None
    """Of the route, where the framework does not say it."""
    ended: bool = False
    """Whether the whole body has come."""
    size: int = 0

    def took_s(self) -> float:
        """Return how long ago it began."""
        return time.monotonic() - self.started

    def route(self) -> str:
        """Return the path as it is declared; of what is no route of ours nothing is quoted."""
        route = self.scope.get("route")
        return self.path or str(getattr(route, "path", "")) or "unknown"

    def own_id(self) -> str:
        """Return an id that nobody else makes: that of the request, unless its sender made it."""
        given = b"x-request-id" in self.headers
        return str(time_ordered()) if given else self.request_id

    def header(self, name: bytes) -> str | None:
        """Return a header's value; None without it. Raises `Problem` if it is there twice."""
        found = self.headers.get(name)
        if found is None:
            return None
        given = self.scope["headers"]
        if len(given) > len(self.headers) and sum(one == name for one, _ in given) > 1:
            raise Problem(400, "bad_request", f"the header {name.decode()} is there twice")
        return found.decode("latin-1").strip()

    async def body(self, limits: BodyLimits, in_hand: InHand) -> bytes:
        """Return the body. Raises `Problem`: 408, 413, 415, 429, or 400 where it breaks off."""
        encoding = self.header(b"content-encoding")
        if encoding and encoding.lower() != "identity":
            raise Problem(415, "unsupported_encoding", "bodies are not taken compressed",
                          headers={"Accept-Encoding": "identity"})  # fmt: skip
        length = self.header(b"content-length")
        if length and int(length.lstrip("0") or 0) > limits.bytes_max:  # of any number of digits
            raise _too_large(limits)
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(limits.within_s):
                while not self.ended:
                    parts.append(await self._piece(limits, in_hand))
        except TimeoutError:
            detail = f"the body did not come in {limits.within_s:g} s (GATEWAY_BODY_SECONDS)"
            raise Problem(408, "timeout", detail) from None
        return b"".join(parts)

    async def _piece(self, limits: BodyLimits, in_hand: InHand) -> bytes:
        message = await self.receive()
        if message["type"] != "http.request":
            self.ended = True
            raise Problem(400, "incomplete", "the connection was closed before the body's end")
        part: bytes = message.get("body", b"")
        self.ended = not message.get("more_body", False)
        self.size += len(part)
        in_hand.size += len(part)
        if self.size > limits.bytes_max:
            raise _too_large(limits)
        if in_hand.size > limits.bytes_in_hand_max:
            detail = "too many bytes are on their way (GATEWAY_BYTES_IN_HAND_MAX)"
            raise Problem(429, "too_many_requests", detail, retry_after_s=1)
        return part

    async def drain(self) -> None:
        """Read what still comes of a body that nobody wants, up to a limit."""
        if self.ended or self.header(b"expect"):  # who expects an answer first gets it
            return
        size = 0
        try:
            async with asyncio.timeout(DRAIN_WITHIN_S):
                while not self.ended and size < DRAINED_MAX:
                    message = await self.receive()
                    size += len(message.get("body", b""))
                    self.ended = not message.get("more_body", False)
        except TimeoutError:
            return


def begin(scope: Scope, receive: Receive) -> HttpRequest:
    """Return the request of a scope; its id is the caller's own if that is fit to be logged."""
    headers = dict(scope["headers"])
    given = headers.get(b"x-request-id", b"").decode("latin-1")
    traceparent = headers.get(b"traceparent", b"").decode("latin-1")
    found = HttpRequest(
        scope,
        receive,
        headers,
        given if REQUEST_ID.fullmatch(given) else str(time_ordered()),
        traceparent if TRACEPARENT.fullmatch(traceparent) else None,
    )
    sent = headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
    found.ended = not sent
    return found


def of(scope: Scope) -> HttpRequest:
    """Return the request that a scope has."""
    found: HttpRequest = scope[NAME]
    return found


def _too_large(limits: BodyLimits) -> Problem:
    return Problem(413, "too_large", f"more than {limits.bytes_max} bytes (GATEWAY_BODY_MAX_BYTES)")
