"""The page where there is little to show, or what is hard to show: it says so, and fits the window.

Each state is also written to build/console/, to be looked at.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

import psycopg
import pytest
from playwright.sync_api import Browser, Page

from services.syncer.service import Syncer
from tests.support import chromium, console_page, ledger, servers
from tests.support.chromium import SIZES, window
from tests.support.console_page import Console
from tests.support.console_visit import WIDER, load
from tests.support.containers import ROOT
from tests.support.ledger import add

SHOTS = ROOT / "build" / "console"
MOST = 2**63 - 1
NAMES = {
    1: ("Zażółć gęślą jaźń Internationale Zahlungsdienstleistungs-Aktiengesellschaft", MOST),
    2: ("W" * 200, -MOST),
    3: ("بنك الخليج الدولي", -1),
    4: ("<b>Bank</b> \u202eevil", 123456789012345),
}
FITS = "one => one.getBoundingClientRect().right <= document.documentElement.clientWidth"
SCROLLS = "one => one.scrollWidth > one.clientWidth && one.tabIndex === 0"
"""Of a part that is too wide for its place: the rest is reached in it, by keyboard, too."""
Scheme = Literal["light", "dark"]
OTHER: dict[Scheme, Scheme] = {"light": "dark", "dark": "light"}
ACCENT: dict[Scheme, str] = {"light": "#1f5f8b", "dark": "#7fb8e0"}
"""What a balance's line has, in each scheme (console.css)."""
DRAWN = """colour => {
    const shown = document.querySelector("#chart canvas"), copy = shown.cloneNode();
    const context = copy.getContext("2d", { willReadFrequently: true });
    context.drawImage(shown, 0, 0);
    const drawn = context.getImageData(0, 0, copy.width, copy.height).data;
    const parts = [1, 3, 5].map(at => parseInt(colour.slice(at, at + 2), 16));
    for (let at = 0; at < drawn.length; at += 4)
        if (drawn[at + 3] === 255 && parts.every((one, i) => drawn[at + i] === one)) return true;
    return false;
}"""
BARE = ("No tick yet: the first boundary is still to come.", "No tick yet: balances are shown")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.running() as one:
        yield one


@pytest.fixture
def new(settings: dict[str, str]) -> Iterator[Console]:
    """A console before the first tick, and before the first provider."""
    with console_page.running(settings) as console:
        yield console


@pytest.fixture
def syncer(dsn: str, settings: dict[str, str], keydb_server: servers.Keydb) -> Iterator[Syncer]:
    """A syncer that has written no tick."""
    assert settings
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        yield syncer


def tick(syncer: Syncer) -> None:
    """Write the tick of the last boundary."""
    syncer.tick(datetime.now(UTC).replace(second=0, microsecond=0))


def words(page: Page) -> str:
    return " ".join((page.locator("main").inner_text()).split())


@contextlib.contextmanager
def visit(browser: Browser, console: Console, name: str, *paths: str) -> Iterator[Page]:
    """Look at pages at each size, in each scheme; yield the last one's window, which is wide."""
    with window(browser, str(console.client.base_url)) as opened:
        page = opened.page
        for path in reversed(paths or ("/",)):
            load(page, path, "main h1")
            for scheme in ("dark", "light"):
                page.emulate_media(color_scheme=scheme)
                for size in ("narrow", "wide"):
                    width, height = SIZES[size]
                    page.set_viewport_size({"width": width, "height": height})
                    shot = f"{name}{path.replace('/', '-').rstrip('-')}-{size}-{scheme}.png"
                    page.screenshot(path=SHOTS / shot, full_page=True)
                    assert page.evaluate(WIDER) <= 0, f"{shot} is wider than the window"
        yield page


def test_in_the_first_minute_each_part_says_what_it_waits_for(
    browser: Browser, new: Console
) -> None:
    with visit(browser, new, "new") as page:
        said = words(page)
    for one in (*BARE, "None. The core does without them.", "Nothing was done by hand yet."):
        assert one in said


def test_without_providers_the_page_says_so_and_how_to_have_some(
    browser: Browser, new: Console, syncer: Syncer
) -> None:
    tick(syncer)

    with visit(browser, new, "none", "/", "/providers/1") as page:
        said = words(page)
        assert "No providers yet" in said
        assert "ops provider add" in said
        page.goto("/providers/1")
        assert "There is no provider 1 now." in words(page)


def test_long_names_and_large_amounts_stay_in_their_place(
    browser: Browser, new: Console, syncer: Syncer, conn: psycopg.Connection
) -> None:
    for number, (name, amount) in NAMES.items():
        assert ledger.add_provider(conn, name) == number
        add(conn, number, amount)
    tick(syncer)

    with visit(browser, new, "large", "/", *(f"/providers/{one}" for one in NAMES)) as page:
        row = page.locator('#balances tr[data-provider="2"]')
        assert f"\N{MINUS SIGN}{MOST:,}" in (row.text_content() or "")
        page.set_viewport_size({"width": 390, "height": 844})
        assert row.locator("td").first.evaluate(FITS)
        assert page.locator("#balances").locator("xpath=..").evaluate(SCROLLS)


def test_a_chart_follows_the_scheme_of_colours(
    browser: Browser, new: Console, syncer: Syncer, conn: psycopg.Connection
) -> None:
    provider_id = ledger.add_provider(conn, "Visa")
    add(conn, provider_id, 600)
    tick(syncer)

    with window(browser, str(new.client.base_url)) as opened:
        page = opened.page
        for scheme, other in OTHER.items():
            page.emulate_media(color_scheme=scheme)
            if scheme == "light":
                load(page, f"/providers/{provider_id}", "#chart canvas")
            page.wait_for_function(DRAWN, arg=ACCENT[scheme])
            assert not page.evaluate(DRAWN, ACCENT[other])
