"""Around every request: its id, its log line, its metrics; a problem document for any failure."""

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

import structlog
from starlette.requests import Request
from starlette.responses import Response

from services.gateway import http_request, metrics, problems
from services.gateway.http_request import HttpRequest, Receive, Scope
from services.gateway.problems import Problem

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[Request], Awaitable[Response]]

QUIET = frozenset({"/livez", "/healthz", "/metrics"})
"""A probe every few seconds is no event."""

KEY = re.compile(r"^(/v1/balances/-?[0-9]+)(?:_|%5F)[^/]*", re.IGNORECASE | re.ASCII)
"""A path with a provider's key. The name in it may have slashes (%2F)."""

log = structlog.get_logger()


class Front:
    """ASGI around the application."""

    def __init__(
        self, app: App, in_hand: http_request.InHand, posts: Mapping[str, Handler] | None = None
    ) -> None:
        """`in_hand` is what bodies take up, given back here when a request ends.

        `posts` are by path what answers POST requests without the framework's layers, which take
        longer than all that we do: the application has the same routes, and documents them.
        """
        self._app = app
        self._in_hand = in_hand
        self._posts = posts or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = http_request.begin(scope, receive)
        scope[http_request.NAME] = found
        answer = _Answer(found, send)
        try:
            await self._handle(found, answer.send)
        except Problem as problem:  # of what the application does not answer itself
            await answer.refuse(problem)
        except Exception:  # a bug costs one request its answer, and never the process
            log.exception("bug", request_id=found.request_id)
            await answer.refuse(problems.of_status(500))
        finally:
            self._in_hand.size -= found.size
            _report(found)

    async def _handle(self, found: HttpRequest, send: Send) -> None:
        scope = found.scope
        handler = self._posts.get(scope["path"]) if scope["method"] == "POST" else None
        if handler is None:
            _leave_name_out(scope)
            await self._app(scope, found.receive, send)
            return
        found.path = scope["path"]
        response = await handler(Request(scope))
        await response(scope, found.receive, send)


def _leave_name_out(scope: Scope) -> None:
    """Have a provider asked for by id: its name, decoded, would be taken for more of the path."""
    path, found = KEY.subn(r"\1", scope.get("raw_path", b"").decode("latin-1"))
    if found:
        scope["path"] = unquote(path)


class _Answer:
    """What is sent back, with the headers that every answer has."""

    def __init__(self, found: HttpRequest, send: Send) -> None:
        self._found = found
        self._send = send

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            await self._begin(message)
        await self._send(message)

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
        answer = Response(problem.body(), problem.status, problem.headers, problems.MEDIA_TYPE)
        await answer(self._found.scope, self._found.receive, self.send)


def _report(found: HttpRequest) -> None:
    took_s = found.took_s()
    path = found.route()
    if found.kind != "stream":
        metrics.SECONDS_OF[found.kind].observe(took_s)
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
