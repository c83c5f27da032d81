"""The console of the shipped stack in a real browser: what it shows is so, what it does is done."""

from collections.abc import Iterator
from typing import Literal

import docker
import psycopg
import pytest
from playwright.sync_api import Browser, expect

from tests.support import chromium, containers, stack
from tests.support.chromium import Window, violations, window
from tests.support.console_visit import (
    WIDER,
    balances,
    healthy,
    load,
    open_dead_letter,
    pages,
    reach,
    send,
    shown,
    sign_in,
    with_dead_letters,
)
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.stack import Stack, publish

SHOTS = ROOT / "build" / "console"
Scheme = Literal["light", "dark"]
STALE_MS = 11_000
ELEMENTS = (
    "verdict", "flow", "ticks", "balances", "dead-letters", "requests", "followers", "doctor",
)  # fmt: skip
MARKUP = "<b>Zażółć</b> \u202eevil"
PROVIDERS = {1: ("Visa", 1000), 2: ("Mastercard", 2000), 3: (MARKUP, -1234567890)}
MANY = [f'{{"id": {1 + number % 2}, "value": {number}}}'.encode() for number in range(40)]
COUNTED = {"1_Visa": "1380", "2_Mastercard": "2400", f"3_{MARKUP}": "-1234567890"}


@pytest.fixture(scope="module")
def running(engine: docker.DockerClient) -> Iterator[Stack]:
    """A stack with a console that may change things, and with something to show."""
    with stack.project(engine) as one:
        one.settings |= {"COMPOSE_PROFILES": "console", "CONSOLE_WRITES": "on"}
        one.up()
        with one.postgres() as conn, conn.cursor() as cursor:
            rows = [(key, *values) for key, values in PROVIDERS.items()]
            cursor.executemany("INSERT INTO initial_data VALUES (%s, %s, %s)", rows)
        names = [f"payment-{number}" for number in range(len(MANY))]
        publish(one, *MANY, message_ids=names)
        with one.postgres() as conn:
            eventually(lambda: balances(conn) == COUNTED)
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.running() as one:
        yield one


@pytest.fixture
def base(running: Stack) -> str:
    return address(running)


@pytest.fixture
def looking(browser: Browser, base: str, conn: psycopg.Connection) -> Iterator[Window]:
    """A window on the first page, once the stack is healthy."""
    conn.execute("DELETE FROM dead_letter")  # they are something to be decided about
    with window(browser, base) as opened:
        load(opened.page, "/")
        healthy(opened.page)
        yield opened


@pytest.fixture
def conn(running: Stack) -> Iterator[psycopg.Connection]:
    with running.postgres() as conn:
        yield conn


def address(running: Stack) -> str:
    return f"http://127.0.0.1:{running.port('console', 8081)}"


def test_each_element_is_there_and_shows_what_is_so(
    looking: Window, running: Stack, conn: psycopg.Connection
) -> None:
    page = looking.page
    for element in ELEMENTS:
        expect(page.locator(f"#{element}")).to_have_count(1)
    expect(page.locator("#verdict h1")).to_have_text("Everything is healthy.")
    eventually(lambda: shown(page) == balances(conn) and len(shown(page)) == len(PROVIDERS))
    for box in ("rabbitmq", "ingest", "postgres", "syncer", "keydb"):
        expect(page.locator(f"#box-{box}")).to_have_attribute("data-state", "healthy")
    with_dead_letters(running, conn)
    expect(page.locator("#verdict")).to_contain_text("2 dead letters to be decided about")
    expect(page.locator("#dead-letters")).to_contain_text("wrong_type")


def test_a_new_transaction_shows_by_itself(
    looking: Window, running: Stack, conn: psycopg.Connection
) -> None:
    before = int(balances(conn)["2_Mastercard"])
    publish(running, b'{"id": 2, "value": 777}', message_ids=["by-itself"])

    row = looking.page.locator('#balances tr[data-key="2_Mastercard"]')
    expect(row).to_have_attribute("data-balance", str(before + 777))


def test_what_others_wrote_is_shown_as_text(looking: Window) -> None:
    page = looking.page
    row = page.locator('#balances tr[data-provider="3"]')

    expect(row).to_contain_text("<b>Zażółć</b> \\u202eevil")
    expect(row).to_contain_text("\N{MINUS SIGN}1,234,567,890")
    assert row.locator("b").count() == 0


def test_without_scripts_the_page_is_complete(
    looking: Window, browser: Browser, base: str, running: Stack, conn: psycopg.Connection
) -> None:
    with_dead_letters(running, conn)
    with window(browser, base, java_script_enabled=False) as opened:
        page = opened.page
        load(page, "/", *(f"#{element}" for element in ELEMENTS), "#balances tr[data-key]")
        assert set(shown(page)) == set(balances(conn))
        load(page, "/dead-letters", "#letters a")
        dead_letter = str(page.locator("#letters a").first.get_attribute("href"))
        load(page, dead_letter, "#text", "#hex", "#properties")


def test_keydb_overwritten_by_hand_turns_the_verdict_red(looking: Window, running: Stack) -> None:
    page = looking.page
    with running.keydb() as keydb:
        right = keydb.get("2_Mastercard")
        keydb.set("2_Mastercard", "999999")
        expect(page.locator("#verdict .verdict.wrong")).to_be_visible()
        expect(page.locator("#verdict")).to_contain_text("2_Mastercard")
        keydb.set("2_Mastercard", str(right))
    healthy(page)


def test_a_service_that_was_killed_has_a_red_box(looking: Window, running: Stack) -> None:
    page = looking.page
    running.compose("kill", "syncer")

    expect(page.locator("#box-syncer")).to_have_attribute("data-state", "wrong")
    expect(page.locator("#verdict .verdict.wrong")).to_be_visible()
    running.compose("start", "syncer")
    healthy(page)


def test_a_page_that_hears_nothing_says_how_old_it_is(looking: Window, running: Stack) -> None:
    page = looking.page
    page.clock.install()  # it takes ten seconds, which need not be waited for
    console = running.container("console")
    containers.freeze(console)
    try:
        page.clock.fast_forward(STALE_MS)
        expect(page.locator("#stale")).to_be_visible()
    finally:
        console.unpause()
    expect(page.locator("#stale")).to_be_hidden()
    healthy(page)


def test_a_dead_letter_is_edited_and_replayed_to_a_row_by_keyboard_alone(
    looking: Window, running: Stack, conn: psycopg.Connection
) -> None:
    page = looking.page
    with_dead_letters(running, conn)
    sign_in(page, running)
    open_dead_letter(page, "wrong_type")
    expect(page.locator("#letter")).to_contain_text("wrong_type")
    reach(page, "#body")
    page.keyboard.press("Control+A")
    page.keyboard.type('{"id": 1, "value": 600}')
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.type("the amount was text")
    page.keyboard.press("Tab")
    send(page, "#trial")
    expect(page.locator("#trial")).to_contain_text("1 new row")
    reach(page, "button[name=confirmed]")
    send(page, "#done")

    expect(page.locator("#done")).to_contain_text("1 new row")
    expect(page.locator("#recorded")).to_contain_text("Ada (console)")
    newest = "SELECT transaction_value FROM historical_transactions ORDER BY id DESC LIMIT 1"
    assert conn.execute(newest).fetchone() == (600,)
    page.goto("/")
    expect(page.get_by_text("dead_letter_replayed")).to_be_visible()


def test_the_first_key_leads_past_the_top_of_the_page(looking: Window) -> None:
    looking.page.keyboard.press("Tab")
    expect(looking.page.get_by_text("Skip to content")).to_be_focused()
    looking.page.keyboard.press("Enter")
    assert looking.page.evaluate("document.activeElement.id") == "main"


def test_its_container_has_no_right_that_it_does_not_need(running: Stack) -> None:
    found = running.container("console").attrs
    host = found["HostConfig"]

    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert 0 < host["Memory"] <= 512 * 2**20
    assert found["Config"]["User"] == "10001:10001"
    assert [one["HostIp"] for one in host["PortBindings"]["8081/tcp"]] == ["127.0.0.1"]
    # The engine calls a container that another test had paused unhealthy until it looks again.
    eventually(lambda: running.container("console").attrs["State"]["Health"]["Status"] == "healthy")


def test_another_name_of_this_machine_is_not_answered(browser: Browser, base: str) -> None:
    with window(browser, base, extra_http_headers={}) as opened:
        answer = opened.page.request.get("/", headers={"Host": "rebound.example.com"})
        assert answer.status == 421


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it_at_every_size(
    looking: Window, browser: Browser, running: Stack, conn: psycopg.Connection, scheme: Scheme
) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    looking.page.emulate_media(color_scheme=scheme)
    looking.page.screenshot(path=SHOTS / f"healthy-wide-{scheme}.png")
    with_dead_letters(running, conn)
    with window(browser, address(running), color_scheme=scheme) as opened:
        page = opened.page
        sign_in(page, running)
        for name, (path, element) in pages(page).items():
            load(page, path, element)
            for size, (width, height) in chromium.SIZES.items():
                page.set_viewport_size({"width": width, "height": height})
                page.screenshot(path=SHOTS / f"{name}-{size}-{scheme}.png", full_page=True)
                assert page.evaluate(WIDER) <= 0, f"{name} is wider than the window"
                if size == "wide" or scheme == "light":  # else both were looked at before
                    assert violations(page) == [], name
