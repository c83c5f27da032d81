"""What a browser makes of the page: the countdown, marking, copying; and that it is heard."""

import re
import signal
from collections.abc import Iterator

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from services.syncer.service import Syncer
from tests.support import chromium
from tests.support.chromium import window
from tests.support.console_page import PATIENCE_S, Console
from tests.support.console_visit import load
from tests.support.eventually import eventually
from tests.support.ledger import add, minute

COMPLAINS = "<script>console.error('a', 'b'); nowhere()</script>"
STALE_MS = 11_000
NO_CLIPBOARD = "Object.defineProperty(navigator, 'clipboard', {value: undefined})"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.running() as one:
        yield one


@pytest.fixture
def blank(browser: Browser, console: Console) -> Iterator[Page]:
    """A window that may copy, in a browser whose clock can be put forward."""
    allowed = ["clipboard-read", "clipboard-write"]
    with window(browser, str(console.client.base_url), permissions=allowed) as opened:
        opened.page.clock.install()
        yield opened.page


@pytest.fixture
def page(blank: Page) -> Page:
    """The first page, live."""
    load(blank, "/")
    return blank


@pytest.fixture
def still(blank: Page) -> Page:
    """The first page, to which nothing new comes."""
    blank.route("**/events", lambda route: route.fulfill(status=204))
    load(blank, "/", "#next-1")
    return blank


def await_looks(page: Page, more: int) -> None:
    """Wait until the page was told of some more looks: each says at what time it was sent."""
    looked = page.locator("#looked")
    for _ in range(more):
        expect(looked).not_to_have_text(looked.text_content() or "")


def complained_of(browser: Browser, html: str) -> None:
    with window(browser, "http://localhost") as opened:
        opened.page.goto(f"data:text/html,{html}")
        eventually(lambda: len(opened.complaints) == 2)


def test_what_a_page_complains_of_fails_its_test_and_is_told_in_full(browser: Browser) -> None:
    with pytest.raises(AssertionError, match="nowhere is not defined") as found:
        complained_of(browser, COMPLAINS)

    assert "error: a b" in str(found.value)
    assert "ReferenceError" in str(found.value)


def test_what_is_marked_stays_and_how_old_it_is_is_said(
    page: Page, conn: psycopg.Connection, syncer: Syncer
) -> None:
    row, stale = page.locator('#balances tr[data-key="1_Visa"]'), page.locator("#stale")
    await_looks(page, 1)
    row.locator("td").first.select_text()
    # Looks come, and no time passes: on a busy machine three of them may take ten seconds.
    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    add(conn, 1, 250)
    syncer.tick(minute(2))
    await_looks(page, 3)
    page.clock.run_for(1000)
    expect(stale).to_be_hidden()
    page.clock.fast_forward(STALE_MS)
    page.clock.resume()

    expect(stale).to_contain_text("What you marked is kept")
    expect(row).to_have_attribute("data-balance", "1300")
    page.evaluate("getSelection().removeAllRanges()")
    expect(row).to_have_attribute("data-balance", "1550")
    expect(stale).to_be_hidden()


def test_a_page_that_hears_nothing_for_long_says_so_until_it_hears_again(
    page: Page, console: Console
) -> None:
    await_looks(page, 1)
    console.program.process.send_signal(signal.SIGSTOP)
    page.clock.fast_forward(STALE_MS)

    expect(page.locator("#stale")).to_contain_text("the console does not answer")
    console.program.process.send_signal(signal.SIGCONT)
    expect(page.locator("#stale")).to_be_hidden()


def test_the_countdown_counts_by_itself(still: Page) -> None:
    page = still

    def left_s() -> int:
        said = page.locator("[data-next]").text_content() or ""
        return int(re.findall(r"\d+", said)[0])

    page.clock.pause_at(page.evaluate("Date.now()") + 1000)
    page.clock.run_for(1000)
    before = left_s()
    page.clock.run_for(7000)

    assert (before - left_s()) % 60 == 7


def test_a_past_minute_is_one_of_utc_wherever_the_browser_is(
    browser: Browser, console: Console
) -> None:
    base = str(console.client.base_url)
    with window(browser, base, timezone_id="Europe/Berlin") as opened:  # has no such time that day
        page = opened.page

        def verdict() -> str:
            load(page, "/", "#at")
            page.get_by_label("As of").fill("2021-03-28T02:30")
            with page.expect_navigation():
                page.get_by_role("button", name="Show").click()
            return page.locator("#verdict").text_content() or ""

        eventually(lambda: "As of 2021-03-28T02:30:00Z" in verdict(), PATIENCE_S)
        expect(page.get_by_label("As of")).to_have_value("2021-03-28T02:30")


@pytest.mark.parametrize("clipboard", [True, False])
def test_what_to_type_next_is_copied(still: Page, *, clipboard: bool) -> None:
    page = still
    if not clipboard:  # as of pages that came by plain HTTP from elsewhere
        page.add_init_script(f"window.kept = navigator.clipboard; {NO_CLIPBOARD}")
        load(page, "/", "#next-1")
    kept = "(window.kept || navigator.clipboard)"
    page.evaluate(f"{kept}.writeText('what was there')")  # another window may have copied the same
    wanted = page.locator("#next-1").text_content()
    page.locator("#copy-1").click()

    read = f"{kept}.readText()"
    eventually(lambda: page.evaluate(read) == wanted)
