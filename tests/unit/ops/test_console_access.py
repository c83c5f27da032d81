"""Who reaches the console, who may change anything by it, and how often a password may be tried."""

import re
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.datastructures import FormData
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from ops.console import attempts, rendering, session
from ops.console.access import surround
from ops.console.attempts import EACH_MAX
from ops.console.guard import BODY_BYTES_MAX, HEADERS, Guard
from ops.console.signing_in import SigningIn
from tests.support.asgi_browser import Browser
from tests.support.console_settings import PASSWORD, console_settings


def show(_request: Request, _name: str, context: dict[str, object], status_code: int) -> Response:
    return JSONResponse(context, status_code)


async def pieces() -> AsyncIterator[bytes]:
    yield b"csrf=x"


def hello(request: Request) -> Response:
    return PlainTextResponse(session.name(request))


def act(request: Request, _form: FormData) -> Response:
    return PlainTextResponse(f"done by {session.name(request)}")


def application(**given: str) -> Starlette:
    chosen = console_settings(**given)
    routes = [
        Route("/", hello),
        Route("/healthz", hello),
        *SigningIn(chosen, show).routes(),
        session.form_route("/act", act, writes=chosen.writes),
    ]
    guard = Middleware(Guard, hosts=chosen.hosts)
    return Starlette(routes=routes, middleware=[guard, session.middleware()])


@pytest.fixture
def browser() -> Browser:
    return Browser(application(console_writes="on"))


def token(browser: Browser) -> str:
    return str(browser.get("/sign-in").json()["csrf"])


def sign_in(browser: Browser, password: str = PASSWORD, **more: str) -> int:
    form = {"csrf": token(browser), "name": "Ada", "password": password} | more
    return int(browser.post("/sign-in", form).status_code)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8081", 200),
        ("LOCALHOST", 200),
        ("rebound.example.com:8081", 421),
        ("127.0.0.1.example.com", 421),
        ("user@localhost", 421),
        ("[::1]:8081", 421),
        ("", 421),
    ],
)
def test_it_answers_to_its_own_names_only(browser: Browser, host: str, status: int) -> None:
    assert browser.get("/", headers={"host": host}).status_code == status


def test_a_health_check_need_not_know_the_name(browser: Browser) -> None:
    assert browser.get("/healthz", headers={"host": "anything"}).status_code == 200


def test_every_answer_tells_browsers_to_run_nothing_of_others(browser: Browser) -> None:
    for answer in (
        browser.get("/"),
        browser.get("/nowhere"),
        browser.get("/", headers={"host": "x"}),
    ):
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert answer.headers["cache-control"] == "no-store"
    assert "unsafe" not in HEADERS["Content-Security-Policy"]


def test_a_form_says_its_size_and_is_not_too_large(browser: Browser) -> None:
    assert browser.post("/act", content=pieces()).status_code == 411
    assert browser.post("/act", content=b"x" * (BODY_BYTES_MAX + 1)).status_code == 413


def test_who_knows_the_password_is_signed_in_under_the_name_they_type(browser: Browser) -> None:
    assert sign_in(browser, next="/?state=open") == 303

    assert browser.get("/").text == "Ada"


def test_the_cookie_is_for_this_site_and_no_script(browser: Browser) -> None:
    browser.get("/sign-in")
    answer = browser.get("/sign-in", headers={"cookie": ""})

    said = (answer.headers.get("set-cookie") or "").lower()
    assert "httponly" in said
    assert "samesite=strict" in said
    assert PASSWORD not in said


@pytest.mark.parametrize(("scheme", "secure"), [("https", True), ("http", False)])
def test_a_cookie_that_was_given_by_tls_is_not_sent_in_the_clear(
    scheme: str, *, secure: bool
) -> None:
    browser = Browser(application(console_writes="on"), f"{scheme}://127.0.0.1:8081")

    said = browser.get("/sign-in").headers["set-cookie"].lower()

    assert ("; secure" in said) is secure


def test_a_cookie_that_was_changed_is_nobodys(browser: Browser) -> None:
    sign_in(browser)
    value = browser.cookies[session.COOKIE]
    browser.cookies.clear()

    answer = browser.get("/", headers={"cookie": f"{session.COOKIE}=e30=.{value}"})

    assert answer.text == ""


@pytest.mark.parametrize("password", ["", "open sesam", "open sesame ", "\udcff"])
def test_another_password_signs_nobody_in(browser: Browser, password: str) -> None:
    sent = password.encode("utf-8", "surrogateescape").decode("latin-1")

    assert sign_in(browser, sent) == 403
    assert browser.get("/").text == ""


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "a\u202eb"])
def test_a_name_can_be_seen_on_record(browser: Browser, name: str) -> None:
    assert sign_in(browser, name=name) == 422


@pytest.mark.parametrize("path", ["//example.com/", "https://example.com", "/\\example.com", "x"])
def test_signing_in_leads_nowhere_else(browser: Browser, path: str) -> None:
    form = {"csrf": token(browser), "name": "Ada", "password": PASSWORD, "next": path}

    assert browser.post("/sign-in", form).headers["location"] == "/"


def test_nothing_is_changed_without_the_forms_token(browser: Browser) -> None:
    sign_in(browser)

    for given in ({}, {"csrf": ""}, {"csrf": "x" * 43}):
        for path in ("/act", "/sign-in", "/sign-out"):
            assert browser.post(path, given).status_code == 403
    assert browser.post("/act", {"csrf": token(browser)}).text == "done by Ada"


def test_no_form_of_the_console_forgets_to_look_at_its_token() -> None:
    inner = Starlette()
    browser = Browser(
        surround(inner, console_settings(console_writes="on"), rendering.environment())
    )
    routes = [one for one in inner.routes if isinstance(one, Route)]
    forms = [one for one in routes if "POST" in (one.methods or ())]
    for form in forms:
        assert browser.post(form.path, {"csrf": ""}).status_code == 403
    page = browser.get("/sign-in").text
    given = {"csrf": page.partition('name="csrf" value="')[2].partition('"')[0]}
    browser.post("/sign-in", given | {"name": "Ada", "password": PASSWORD})

    for form in forms:
        answer = browser.post(form.path, {"csrf": "another"})
        assert (answer.status_code, "This form is too old" in answer.text) == (403, True)
    assert {"/sign-in", "/sign-out", "/dead-letters", "/providers"} <= {one.path for one in forms}


def test_nothing_is_changed_by_who_is_not_signed_in(browser: Browser) -> None:
    assert browser.post("/act", {"csrf": token(browser)}).status_code == 403


def test_who_signs_out_may_change_nothing_any_more(browser: Browser) -> None:
    sign_in(browser)
    own = token(browser)

    assert browser.post("/sign-out", {"csrf": own}).status_code == 303
    assert browser.post("/act", {"csrf": own}).status_code == 403


def test_a_console_that_is_read_only_signs_nobody_in_and_changes_nothing() -> None:
    browser = Browser(application())

    assert browser.get("/sign-in").json()["writes"] is False
    for path in ("/act", "/sign-in", "/sign-out"):
        answer = browser.post(path, {"csrf": ""})
        assert (answer.status_code, "CONSOLE_WRITES is off" in answer.text) == (403, True)


def test_a_password_can_be_tried_a_few_times_a_minute(browser: Browser) -> None:
    tried = [sign_in(browser, "guess") for _ in range(EACH_MAX + 1)]

    assert tried == [403] * EACH_MAX + [429]
    refused = browser.post(
        "/sign-in", {"csrf": token(browser), "name": "Ada", "password": PASSWORD}
    )
    assert re.fullmatch(r"[1-9]\d?", refused.headers["retry-after"])


def test_who_signed_in_from_a_browser_is_not_held_up_by_strangers(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ALL_MAX", EACH_MAX)
    sign_in(browser)
    browser.post("/sign-out", {"csrf": token(browser)})
    known = dict(browser.cookies)
    browser.cookies.clear()
    while sign_in(browser, "guess") == 403:
        pass
    assert sign_in(browser) == 429

    browser.cookies.clear()
    browser.cookies.update(known)
    assert [sign_in(browser, "guess") for _ in range(EACH_MAX - 1)] == [403] * (EACH_MAX - 1)
    assert sign_in(browser) == 303


@pytest.mark.parametrize(
    "given",
    [
        {"console_writes": "on", "console_password": ""},
        {"console_password": "short"},
        {"console_hosts": ""},
        {"console_hosts": "localhost:8081"},
        {"console_writes": "yes"},
    ],
)
def test_settings_that_would_leave_it_open_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="console_"):
        console_settings(**given)
