"""Pages of their own beside the first one: who may do what on them, and what is said instead."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from jinja2 import Environment
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ops.console import session
from ops.console.rendering import ONLY, Place
from shared.errors import Refusal, StatementFailed, Unanswerable, Unavailable

DEADLINE_S = 2.7
"""A page must be there in three seconds, or say what is missing."""
LIMITS = "-c statement_timeout=2500ms -c lock_timeout=2s"
"""Of connections for one request: a statement that nobody waits for any more ends soon."""

log = structlog.get_logger()


class Pages:
    """Renders pages and refusals."""

    def __init__(self, templates: Environment, place: Place = ONLY, *, writes: bool) -> None:
        """`writes`: whether anything may be changed by the console."""
        templates.globals["writes"] = writes
        self._templates = templates
        self._place = place

    def show(
        self, request: Request, name: str, values: Mapping[str, Any], status_code: int = 200
    ) -> HTMLResponse:
        """Return a page; it knows who is signed in, and the token of their forms."""
        given = {**self._place, **session.shown(request), **values}
        html = self._templates.get_template(name).render(given)
        return HTMLResponse(html, status_code)

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Answer what was raised as `HTTPException`: its detail and status."""
        assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these only
        answer = self.said(request, error.detail, error.status_code)
        answer.headers.update(error.headers or {})
        return answer

    async def broken(self, request: Request, error: Exception) -> Response:
        """Answer that it is a bug, which is in the log, also of an answer that had begun."""
        log.error("bug", path=request.url.path, exc_info=error)
        return self.said(request, f"This is a bug: {type(error).__name__}, see the log.", 500)

    def said(self, request: Request, says: str, status: int) -> HTMLResponse:
        """Return a page that says why there is nothing else."""
        return self.show(request, "said.html", {"says": says}, status)

    def reading(self, page: Callable[[Request], Response]) -> Callable[..., Awaitable[Response]]:
        """Make an endpoint of a function that asks Postgres: it runs in a thread, within a time."""

        async def endpoint(request: Request) -> Response:
            try:
                async with asyncio.timeout(DEADLINE_S):
                    return await run_in_threadpool(page, request)
            except TimeoutError:
                return self.said(request, f"Postgres: no answer within {DEADLINE_S:g} s", 503)
            except (Refusal, Unavailable) as error:
                return self.excused(request, error)

        return endpoint

    def excused(self, request: Request, error: Refusal | Unavailable) -> Response:
        """Return what to say of an error that is nobody's bug."""
        if isinstance(error, Unanswerable):
            return self.said(request, str(error), 404)
        if isinstance(error, Refusal):
            return self.said(request, str(error), 409)
        if isinstance(error, StatementFailed):
            return self.said(request, f"Postgres refuses it: {error.detail}", 409)
        return self.said(request, f"{error.server} {error.state}: {error.detail}", 503)
