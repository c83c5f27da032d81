"""The application: its routes, the page, and the events that keep it live."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import click
from jinja2 import Environment
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from ops.console import numbers, rendering, session
from ops.console.balances import Balances
from ops.console.joined_balances import JoinedBalances
from ops.console.listing import Asked, Listing
from ops.console.poll import DEADLINE_S, STALE_AFTER_S, Found, Part, Poll, Poller, answer
from ops.params import Moment

Views = Callable[[Poll], Mapping[str, Mapping[str, Any]]]
"""What makes the values of each section's template, by its name, of a poll."""
T = TypeVar("T")
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAIN = Markup("<!--main-->")
"""Where the page's sections come: nothing that is escaped has it."""
THREADS = 16
"""Questions of single requests that are asked at once."""
VIEWERS_MAX = 500
"""Pages that are kept live at once; anybody else's is as it was when it was loaded."""
LINE_END = re.compile("\r\n|\r|\n")
"""Of events: not whatever else Python takes for one."""


@dataclass(slots=True)
class Console:
    """What all requests share."""

    poller: Poller
    views: Views
    past: Callable[[datetime], Mapping[str, Mapping[str, Any]]]
    balances: Balances | JoinedBalances
    templates: Environment = field(default_factory=rendering.environment)
    place: rendering.Place = field(default_factory=lambda: rendering.ONLY)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    threads: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, THREADS))
    viewers: int = 0
    _rendered: tuple[int, dict[str, Markup]] = (-1, {})
    _listed: tuple[int, dict[Asked, asyncio.Task[Markup]]] = (-1, {})

    def render(self, name: str, values: Mapping[str, Any]) -> Markup:
        """Return a template as HTML; of all shards its own one, if there is any."""
        of_all = self.place["shards"] and self.place["shard"] is None
        names = [f"{name}_of_all.html", f"{name}.html"] if of_all else [f"{name}.html"]
        html = self.templates.select_template(names).render({**self.place, **values})
        return Markup(html)  # noqa: S704 - a template's, which escapes

    async def ask(self, question: Callable[[], T], within_s: float = DEADLINE_S) -> Found:
        """Return the answer of a question of one request, or why there is none in time."""
        running = self.threads.submit(answer, Part(question))
        done, _ = await asyncio.wait({asyncio.wrap_future(running)}, timeout=within_s)
        if done:
            return running.result()
        running.cancel()  # what has not begun by now is not asked any more
        return Found(error=f"no answer within {DEADLINE_S:g} s")

    async def balances_of(self, question: Callable[[], Listing], *, now: bool = True) -> Found:
        """Return a page of balances, compared with KeyDB if it is of `now` and time is left.

        What Postgres has is shown in any case.
        """
        began = time.monotonic()
        found = await self.ask(question)
        if found.error or not now:
            return found
        left_s = DEADLINE_S - (time.monotonic() - began)
        compared = await self.ask(partial(self.balances.compared, found.value), left_s)
        if not compared.error:
            return compared
        return Found(replace(found.value, not_compared=compared.error))

    def rendered(self, poll: Poll) -> dict[str, Markup]:
        """Return each section of a poll as HTML, made once for all viewers."""
        if self._rendered[0] != poll.number:
            views = self.views(poll)
            made = {name: self.render(name, values) for name, values in views.items()}
            self._rendered = (poll.number, made)
        return self._rendered[1]

    async def listed(self, asked: Asked, number: int) -> Markup:
        """Return a page of balances as HTML, made once for a poll and all who see that page."""
        if self._listed[0] != number:
            self._listed = (number, {})
        pages = self._listed[1]
        if asked not in pages:
            pages[asked] = asyncio.create_task(self._list(asked))
        return await asyncio.shield(pages[asked])

    async def _list(self, asked: Asked) -> Markup:
        question = partial(self.balances.page, asked)
        found = await self.balances_of(question, now=asked.at is None)
        return self.render("balances", {"asked": asked, "found": found})

    async def page(self, request: Request) -> Response:
        """Answer with the whole page, of now or of a past minute."""
        try:
            asked = asked_for(request)
        except click.UsageError as error:
            return self.refuse(request, error.message, 400)
        values = {"asked": asked, "query": rendering.address(asked)} | session.shown(request)
        return self.stream("page", values, partial(self._main, asked))

    async def _main(self, asked: Asked) -> Markup:
        values = await (self._past(asked, asked.at) if asked.at else self._now(asked))
        return self.render("main", {"asked": asked} | values)

    async def _now(self, asked: Asked) -> dict[str, Any]:
        balances = asyncio.ensure_future(self.listed(asked, self.poller.coming))
        poll = await self.poller.recent()
        values = {
            "stale": poll.age_s > STALE_AFTER_S,
            "shown_at": poll.taken_at,
            "clock": f"{time.time():.3f}",
        }
        return values | self.rendered(poll) | {"balances": await balances}

    async def _past(self, asked: Asked, at: datetime) -> dict[str, Any]:
        """Return the sections of a past minute; of what is not kept, as it is now."""
        found, balances, poll = await asyncio.gather(
            self.ask(partial(self.past, at)), self._list(asked), self.poller.recent()
        )
        if found.error:
            error = self.render("verdict_past", {"at": at, "error": found.error})
            return {"verdict_past": error, "balances": balances}
        then, now = found.value, self.views(poll)
        sections = {**then, "operations": {**now["operations"], **then["operations"], "past": True}}
        made = {name: self.render(name, values) for name, values in sections.items()}
        made["balances"] = balances
        return {name: self.rendered(poll)[name] for name in ("flow", "dead_letters")} | made

    async def events(self, request: Request) -> Response:
        """Answer with what changes: each section's HTML, under its name."""
        try:
            asked = asked_for(request)
        except click.UsageError as error:
            return self.refuse(request, error.message, 400)
        if self.viewers >= VIEWERS_MAX:
            says = f"{VIEWERS_MAX} people look at it, the most there may be"
            return self.refuse(request, says, 503)
        events = self._events(asked) if request.method == "GET" else ()
        return StreamingResponse(events, 200, STREAM_HEADERS, "text/event-stream")

    async def _events(self, asked: Asked) -> AsyncIterator[bytes]:
        sent: dict[str, Markup] = {}
        self.viewers += 1
        try:
            poll = await self.poller.recent()
            while not self.closing.is_set():
                balances = asyncio.ensure_future(self.listed(asked, poll.number))
                for name, html in self.rendered(poll).items():
                    if sent.get(name) != html:
                        sent[name] = html
                        yield event(name, html)
                yield event("looked", f"{time.time():.3f}")
                html = await balances
                if sent.get("balances") != html:
                    sent["balances"] = html
                    yield event("balances", html)
                poll = await self.poller.after(poll.number)
        finally:
            self.viewers -= 1

    def close(self) -> None:
        """Ask nothing any more; what hangs is left to its own time-out."""
        self.poller.close()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def stream(
        self, name: str, values: Mapping[str, Any], main: Callable[[], Awaitable[Markup]]
    ) -> StreamingResponse:
        """Answer with a page; its head at once, so that a browser has what it names meanwhile."""
        top, _, bottom = self.render(name, {**values, "main": MAIN}).partition(MAIN)

        async def parts() -> AsyncIterator[str]:
            yield top
            yield await main()
            yield bottom

        return StreamingResponse(parts(), media_type="text/html")

    def show(
        self, request: Request, name: str, values: Mapping[str, Any], status: int = 200
    ) -> HTMLResponse:
        """Answer with a page of its own, which says who is signed in."""
        return HTMLResponse(self.render(name, {**session.shown(request), **values}), status)

    def refuse(self, request: Request, says: str, status: int) -> HTMLResponse:
        """Answer that something cannot be shown, and why."""
        return self.show(request, "refused", {"says": says}, status)


def asked_for(request: Request) -> Asked:
    """Return which page of balances a request means. Raises `click.UsageError`."""
    given = request.query_params
    text = given.get("after", "")
    after = numbers.bigint(text)
    if text and after is None:
        raise click.UsageError("after must be a number")
    at = given.get("at", "").strip()
    return Asked(
        Moment().convert(at, None, None) if at else None,
        "change" if given.get("order") == "change" else "id",
        given.get("search", "").replace("\0", "").strip()[:100],
        after,
    )


def event(name: str, html: str) -> bytes:
    """Return one server-sent event."""
    lines = "".join(f"data: {line}\n" for line in LINE_END.split(html))
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
