"""The console of a shipped stack: what it has to show, and a person who goes through its pages."""

import uuid

import psycopg
from playwright.sync_api import Page, Request, expect

from tests.support.console_page import PATIENCE_S
from tests.support.eventually import eventually
from tests.support.stack import Stack, publish

HEALTHY_S = 90
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""By how many pixels a page is wider than its window."""
UNFIT = b'{"id": 1, "value": "600"}'


def healthy(page: Page) -> None:
    expect(page.locator("#verdict .verdict.healthy")).to_be_visible(timeout=HEALTHY_S * 1000)


def with_dead_letters(running: Stack, conn: psycopg.Connection) -> None:
    """Have some messages that cannot become rows, or not yet."""
    bodies = [UNFIT, b"no", b'{"id": 9, "value": 5}']
    publish(running, *bodies, message_ids=[uuid.uuid4().hex for _ in bodies])
    there = "SELECT count(*) FROM dead_letter"
    eventually(lambda: conn.execute(there).fetchone() == (len(bodies),))


def balances(conn: psycopg.Connection) -> dict[str, str]:
    """Return what the newest tick says, by key."""
    found = conn.execute(
        "SELECT DISTINCT ON (provider_id) key, balance::text FROM balance"
        " ORDER BY provider_id, epoch DESC"
    )
    return dict(found.fetchall())


def shown(page: Page) -> dict[str, str]:
    """Return what the table says, by key."""
    rows = page.locator("#balances tr[data-key]").all()
    return {
        str(one.get_attribute("data-key")): str(one.get_attribute("data-balance")) for one in rows
    }


def load(page: Page, path: str, *elements: str) -> None:
    """Load a page until it has the elements: a busy machine answers too late now and then.

    And until it has its styles and scripts: where containers come and go, Chromium ends what it is
    loading, since the machine's network has changed.
    """

    def missing() -> list[str]:
        failed: list[str] = []

        def note(request: Request) -> None:
            if "/static/" in request.url:
                failed.append(request.url)

        page.on("requestfailed", note)
        page.goto(path)
        page.remove_listener("requestfailed", note)
        return [*failed, *(one for one in elements if not page.locator(one).count())]

    eventually(lambda: missing() == [], PATIENCE_S)


def sign_in(page: Page, running: Stack, name: str = "Ada") -> None:
    page.goto("/sign-in")
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Password").fill(running.secrets["CONSOLE_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()


def reach(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus, which can be seen."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("one => document.activeElement.matches(one)", selector):
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.evaluate(outline) != "none"
            return
    raise AssertionError(f"{selector} is not reached by Tab")


def press_enter(page: Page) -> None:
    """Press Enter on what leads to another page, and wait until that is there."""
    with page.expect_navigation():
        page.keyboard.press("Enter")


def send(page: Page, element: str) -> None:
    """Send a form by Enter until its answer has the element.

    What a busy machine was too late with was undone: the page says so, and lets it be tried again.
    """

    def answered() -> bool:
        press_enter(page)
        there = page.locator(element).count() > 0
        if not there:
            reach(page, "#again")
        return there

    eventually(answered, PATIENCE_S)


def open_dead_letter(page: Page, reason: str) -> None:
    """Open the first dead letter of a reason by its link."""

    def opened() -> int:
        load(page, f"/dead-letters?reason={reason}", "#letters a")
        page.locator("#letters a").first.focus()
        press_enter(page)
        return page.locator("#letter").count()

    eventually(opened, PATIENCE_S)


def pages(page: Page) -> dict[str, tuple[str, str]]:
    """Return a page of each kind and what it must have, by a name for its picture."""
    load(page, "/dead-letters", "#letters a")
    dead_letter = page.locator("#letters a").first.get_attribute("href")
    load(page, "/", "#ticks a")
    tick = page.locator("#ticks a").last.get_attribute("href")
    return {
        "console": ("/", "#balances"),
        "letters": ("/dead-letters", "#letters"),
        "letter": (str(dead_letter), "#letter"),
        "provider": ("/providers/1", "#statement"),
        "tick": (str(tick), "main h1"),
    }
