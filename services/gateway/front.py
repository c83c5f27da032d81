"""Around every request: its id, its log line, its metrics; a problem document for any failure."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog

from services.gateway import exchange, metrics, problems
from services.gateway.exchange import Exchange, Receive, Scope
from services.gateway.problems import Problem

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

QUIET = frozenset({"/livez", "/healthz", "/metrics"})
"""A probe every few seconds is no event."""

BUFFERED_BYTES = 65_536
"""What is smaller the server takes without waiting for the client."""
READ_WITHIN_S = 30.0

log = structlog.get_logger()


class SlowReader(Exception):
    """The client does not read what it asked for."""


class Front:
    """ASGI around the application."""

    def __init__(self, app: App, in_hand: exchange.InHand) -> None:
        """`in_hand` is what bodies take up, given back here when a request ends."""
        self._app = app
        self._in_hand = in_hand

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = exchange.begin(scope, receive)
        scope[exchange.NAME] = found
        answer = _Answer(found, send)
        try:
            await self._app(scope, receive, answer.send)
        except Problem as problem:  # of what is not a route of the application's
            await answer.refuse(problem)
        except SlowReader:
            found.reason = "timeout"
            raise  # the server then hangs up
        except Exception:
            log.exception("bug", request_id=found.request_id)
            await answer.refuse(problems.of_status(500))
        finally:
            self._in_hand.size -= found.size
            _report(found)


class _Answer:
    """What is sent back, with the headers that every answer has."""

    def __init__(self, found: Exchange, send: Send) -> None:
        self._found = found
        self._send = send

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        if self._found.kind != "stream" and len(message.get("body", b"")) < BUFFERED_BYTES:
            await self._send(message)
            return
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                await self._send(message)
        except TimeoutError:
            raise SlowReader from None

    async def _begin(self, message: MutableMapping[str, Any]) -> None:
        found = self._found
        found.status = message["status"]
        if not found.ended and found.reason != "timeout":
            await found.drain()
        headers = list(message.get("headers", ()))
        headers.append((b"x-request-id", found.request_id.encode("latin-1")))
        if not found.ended:  # the rest of the body would be taken for the next request
            headers.append((b"connection", b"close"))
        message["headers"] = headers

    async def refuse(self, problem: Problem) -> None:
        if self._found.status:  # the answer has begun: all that is left is to break it off
            return
        self._found.reason = problem.reason
        headers = [(b"content-type", problems.MEDIA_TYPE.encode())]
        headers += [
            (one.lower().encode(), value.encode()) for one, value in problem.headers.items()
        ]
        body = problem.body()
        headers.append((b"content-length", str(len(body)).encode()))
        start = {"type": "http.response.start", "status": problem.status, "headers": headers}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": body})


def _report(found: Exchange) -> None:
    took_s = found.took_s()
    path = found.route()
    if found.kind != "stream":
        metrics.REQUEST_SECONDS.labels(found.kind).observe(took_s)
    if found.reason:
        metrics.REFUSED.labels(found.reason).inc()
    if path in QUIET:
        return
    facts = {"by": found.by, "request": found.key, "items": found.items, "reason": found.reason}
    log.info(
        "answered",
        request_id=found.request_id,
        client=(found.scope.get("client") or ("unknown",))[0],
        method=found.scope["method"],
        path=path,
        status=found.status,
        duration_ms=round(took_s * 1000, 1),
        **{name: fact for name, fact in facts.items() if fact is not None},
    )
