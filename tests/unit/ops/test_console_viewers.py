"""Who keeps the page open: so many at most, and nothing is asked for who does not wait any more."""

import asyncio
import threading
from collections.abc import Iterator
from typing import cast

import httpx
import pytest
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import StreamingResponse

from ops.console import app, session
from ops.console.app import Console, make_app
from ops.console.balances import Balances
from ops.console.listing import Asked, Listing
from ops.console.poll import Part, Poller

BASE = "http://localhost"


class NoBalances:
    """Pages without rows."""

    def page(self, asked: Asked) -> Listing:
        return Listing(asked)

    def compared(self, listing: Listing) -> Listing:
        return listing


@pytest.fixture
def console() -> Iterator[Console]:
    poller = Poller({"part": Part(lambda: 1)})
    made = Console(poller, lambda _: {}, lambda _: {}, cast("Balances", NoBalances()))
    yield made
    made.close()


def answer(console: Console, method: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        served = make_app(console, middleware=[session.middleware()])
        transport = httpx.ASGITransport(app=served)
        async with httpx.AsyncClient(transport=transport, base_url=BASE) as client:
            return await asyncio.wait_for(client.request(method, "/events"), 30)

    return asyncio.run(ask())


def test_the_head_of_a_page_is_sent_before_anything_is_asked_for_its_body(console: Console) -> None:
    asked: list[str] = []

    async def main() -> Markup:
        asked.append("all servers")
        return Markup("all there is")

    async def read() -> list[str]:
        values = {"asked": Asked(), "query": "", "who": "", "csrf": ""}
        parts = aiter(console.stream("page", values, main).body_iterator)
        head = str(await anext(parts))
        assert asked == []
        return [head, *[str(one) async for one in parts]]

    head, *rest = asyncio.run(read())

    assert "/static/console.css" in head
    assert "all there is" in "".join(rest)


def test_who_asks_for_the_head_of_the_events_does_not_stay(console: Console) -> None:
    head = answer(console, "HEAD")

    assert head.headers["content-type"].startswith("text/event-stream")
    assert console.viewers == 0


def test_there_are_so_many_viewers_at_most(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "VIEWERS_MAX", 0)

    refused = answer(console, "GET")

    assert (refused.status_code, "the most there may be" in refused.text) == (503, True)


def test_a_viewer_is_counted_until_they_leave(console: Console) -> None:
    async def watch() -> tuple[int, int]:
        request = Request({"type": "http", "method": "GET", "query_string": b"", "headers": []})
        found = await console.events(request)
        assert isinstance(found, StreamingResponse)
        events = aiter(found.body_iterator)
        await anext(events)
        during = console.viewers
        await events.aclose()  # type: ignore[attr-defined]
        return during, console.viewers

    assert asyncio.run(watch()) == (1, 0)


def test_what_nobody_waits_for_any_more_is_not_asked(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "DEADLINE_S", 0.05)
    held, asked = threading.Event(), []

    async def watch() -> list[str]:
        for _ in range(app.THREADS):
            console.threads.submit(held.wait)
        late = [(await console.ask(lambda: asked.append(1))).error for _ in range(3)]
        held.set()
        await console.ask(lambda: None)
        return late

    assert asyncio.run(watch()) == ["no answer within 0.05 s"] * 3
    console.threads.shutdown()
    assert asked == []
