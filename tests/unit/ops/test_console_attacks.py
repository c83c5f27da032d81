"""What strangers try at the console: copied cookies, odd addresses, bugs that they provoke."""

import re

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from structlog.testing import capture_logs

from ops.console import app, numbers, rendering, session
from ops.console.access import surround
from ops.console.guard import HEADERS
from tests.support.asgi_browser import Browser
from tests.support.console_settings import PASSWORD, console_settings

CHOSEN = console_settings(console_writes="on")


async def break_off(_request: Request) -> Response:
    raise LookupError("a secret")


async def who(request: Request) -> Response:
    return PlainTextResponse(session.name(request) or "nobody")


@pytest.fixture
def browser() -> Browser:
    """One at a whole console, with two pages more."""
    inner = Starlette(routes=[Route("/broken", break_off), Route("/who", who)])
    return Browser(surround(inner, CHOSEN, rendering.environment()), raises=False)


def sign_in(browser: Browser, **more: str) -> httpx.Response:
    found = re.search('name="csrf" value="([^"]+)"', browser.get("/sign-in").text)
    assert found
    form = {"csrf": found[1], "name": "Ada", "password": PASSWORD} | more
    return browser.post("/sign-in", form)


def test_a_bug_is_said_with_the_headers_of_any_answer_and_is_in_the_log(browser: Browser) -> None:
    with capture_logs() as logged:
        answer = browser.get("/broken")

    assert answer.status_code == 500
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answer.headers["cache-control"] == "no-store"
    assert "LookupError, see the log" in answer.text
    assert "a secret" not in answer.text
    assert [one["event"] for one in logged] == ["bug"]


@pytest.mark.parametrize("path", ["/dead-letters/", "/ticks/"])
@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19, "-1", "x", "1.5", "\u0661"])
def test_a_number_that_nothing_has_is_no_page(browser: Browser, path: str, number: str) -> None:
    assert browser.get(path + number).status_code == 404


@pytest.mark.parametrize("number", [2**63 - 1, -(2**63), 0, -1])
def test_every_id_that_a_provider_can_have_is_a_place_to_go_on_from(number: int) -> None:
    request = Request({"type": "http", "query_string": f"after={number}".encode(), "headers": []})

    assert app.asked_for(request).after == number


@pytest.mark.parametrize("text", ["9223372036854775808", "9" * 5000, "", "x", "\u0661", "1\n"])
def test_what_no_provider_can_have_is_none(text: str) -> None:
    assert numbers.bigint(text) is None


def test_what_is_the_same_for_everybody_need_not_be_sent_again() -> None:
    inner = Starlette(routes=[Mount("/static", StaticFiles(directory=rendering.HERE / "static"))])
    browser = Browser(surround(inner, CHOSEN, rendering.environment()))
    first = browser.get("/static/console.js")
    again = browser.get("/static/console.js", headers={"if-none-match": first.headers["etag"]})

    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert browser.get("/static/../app.py").status_code == 404


def test_a_copy_of_the_cookie_is_worth_nothing_after_signing_out(browser: Browser) -> None:
    sign_in(browser)
    copied = {"cookie": f"{session.COOKIE}={browser.cookies[session.COOKIE]}"}
    assert browser.get("/who", headers=copied).text == "Ada"
    form = re.search('name="csrf" value="([^"]+)"', browser.get("/sign-in").text)
    assert form
    browser.post("/sign-out", {"csrf": form[1]})

    assert browser.get("/who", headers=copied).text == "nobody"
    again = browser.post("/dead-letters", {"csrf": form[1]}, headers=copied)
    assert (again.status_code, "Sign in first" in again.text) == (403, True)


def test_signing_in_gives_another_session_than_the_one_before(browser: Browser) -> None:
    browser.get("/sign-in")
    planted = browser.cookies[session.COOKIE]
    sign_in(browser)

    assert browser.get("/who", headers={"cookie": f"{session.COOKIE}={planted}"}).text == "nobody"


def test_a_stranger_cannot_send_more_than_a_password(browser: Browser) -> None:
    assert sign_in(browser, name="x" * 5000).status_code == 400


def test_an_event_is_cut_into_lines_where_browsers_put_them_together_again() -> None:
    html = 'data-key="1_a\u2028b\x0bc\x85d"\nnext\r\nlast\ralso'

    sent = app.event("balances", html).decode()

    assert sent.count("data: ") == 4
    assert 'data: data-key="1_a\u2028b\x0bc\x85d"\n' in sent
