"""The application: its routes, the page, and the events that keep it live."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from ops.console import rendering
from ops.console.look import STALE_AFTER_S, Look, Looker

View = Callable[[Look], Mapping[str, Any]]
"""What makes the values of a section's template of a look."""


@dataclass(slots=True)
class Console:
    """What all requests share. `sections` are by name: that of their template and element."""

    looker: Looker
    sections: Mapping[str, View]
    templates: Environment = field(default_factory=rendering.environment)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    _rendered: tuple[int, dict[str, Markup]] = (-1, {})

    def rendered(self, look: Look) -> dict[str, Markup]:
        """Return each section of a look as HTML, made once for all viewers."""
        if self._rendered[0] != look.number:
            made = {name: self._section(name, view(look)) for name, view in self.sections.items()}
            self._rendered = (look.number, made)
        return self._rendered[1]

    def _section(self, name: str, values: Mapping[str, Any]) -> Markup:
        template = self.templates.get_template(f"{name}.html")
        return Markup(template.render(**values))  # noqa: S704 - a template, which escapes

    async def page(self, _request: Request) -> HTMLResponse:
        """Answer with the whole page."""
        look = await self.looker.recent()
        template = self.templates.get_template("page.html")
        values = {"look": look, "stale": look.age_s > STALE_AFTER_S, **self.rendered(look)}
        return HTMLResponse(template.render(values))

    async def events(self, _request: Request) -> StreamingResponse:
        """Answer with what changes: each section's HTML, under its name."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._events(), 200, headers, "text/event-stream")

    async def _events(self) -> AsyncIterator[bytes]:
        sent: dict[str, Markup] = {}
        number = 0
        while not self.closing.is_set():
            look = await self.looker.after(number)
            number = look.number
            for name, html in self.rendered(look).items():
                if sent.get(name) != html:
                    sent[name] = html
                    yield event(name, html)


def event(name: str, html: str) -> bytes:
    """Return one server-sent event."""
    lines = "".join(f"data: {line}\n" for line in html.splitlines())
    return f"event: {name}\n{lines}\n".encode()


def make_app(
    console: Console,
    routes: list[BaseRoute] | None = None,
    middleware: list[Middleware] | None = None,
) -> Starlette:
    """Return the application; `routes` are those of other modules."""
    static = StaticFiles(directory=rendering.HERE / "static")
    return Starlette(
        routes=[
            Route("/", console.page),
            Route("/events", console.events),
            Mount("/static", static, name="static"),
            *(routes or []),
        ],
        middleware=middleware or [],
    )
