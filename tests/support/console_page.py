"""The console as a process, and its page as a program reads it."""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser

import httpx

from tests.support import programs
from tests.support.eventually import eventually
from tests.support.http_gateway import http_port
from tests.support.programs import Program

TIMEOUT_S = 30.0
PATIENCE_S = 90.0
"""For so long it is asked again: on a busy machine a lot may come too late first."""
TOO_LATE = re.compile("no answer within|couldn(&#39;|')t get a connection|took too long")
BUSY, LATE = 503, re.compile(f"{TOO_LATE.pattern}|Nothing was done|gives no answer")
"""How a page says that some of it, or all of it, is too late."""
VOID = frozenset({"meta", "link", "input", "br", "img", "hr"})


def patiently(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """Return an answer that is not that it came too late; of a form nothing was done then."""
    answers: list[httpx.Response] = []

    def in_time() -> bool:
        answers[:] = [ask()]
        late = LATE.search(answers[0].text) if answers[0].status_code == BUSY else None
        return late is None

    eventually(in_time, PATIENCE_S)
    return answers[0]


@dataclass(frozen=True)
class Console:
    """A running console."""

    program: Program
    client: httpx.Client

    def html(self, path: str = "/") -> str:
        """Return a page once nothing on it came too late: on a busy machine something may."""

        def ask() -> str:
            answer = patiently(lambda: self.client.get(path))
            answer.raise_for_status()
            return "" if TOO_LATE.search(answer.text) else answer.text

        return eventually(ask, PATIENCE_S)

    def text(self, element: str, path: str = "/") -> str:
        """Return what an element of such a page says, by its id."""
        return text_of(self.html(path), element)


class _Reader(HTMLParser):
    def __init__(self, element: str) -> None:
        super().__init__()
        self.element, self.depth, self.found = element, 0, ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in VOID:
            return
        if self.depth or dict(attrs).get("id") == self.element:
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        if self.depth and tag not in VOID:
            self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.found += f" {data}"


def text_of(html: str, element: str) -> str:
    """Return the words of an element, with single spaces between them."""
    reader = _Reader(element)
    reader.feed(html)
    return re.sub(r"\s+", " ", reader.found).strip()


def rows_of(html: str) -> dict[str, str]:
    """Return balances by key, as programs read them off the page."""
    found: dict[str, str] = {}

    class Rows(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = dict(attrs)
            if tag == "tr" and "data-key" in given:
                found[str(given["data-key"])] = str(given["data-balance"])

    Rows().feed(html)
    return found


def link_of(html: str, kind: str) -> str:
    """Return where the page's link of that kind (`rel`) leads; nothing if there is none."""
    found = re.search(rf'<a rel="{kind}" href="([^"]*)"', html)
    return unescape(found[1]) if found else ""


@contextlib.contextmanager
def running(environment: dict[str, str], **given: str) -> Iterator[Console]:
    """Run a console while inside, and wait until it serves."""
    settings = {"CONSOLE_PORT": "0", "CONSOLE_HOST": "127.0.0.1", **environment, **given}
    with programs.running("ops", "console", **settings) as program:
        base = f"http://127.0.0.1:{eventually(lambda: http_port(program))}"
        with httpx.Client(base_url=base, timeout=TIMEOUT_S, trust_env=False) as client:
            yield Console(program, client)
