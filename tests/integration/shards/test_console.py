"""The console over two shards: its first page is about all, and leads to a page of each."""

import contextlib
from collections.abc import Iterator

import httpx
import psycopg
import pytest
from playwright.sync_api import expect

from tests.support import (
    chromium,
    console_page,
    console_person,
    keydb_rights,
    messages,
    servers,
    shards,
)
from tests.support.chromium import violations, window
from tests.support.console_page import Console, rows_of, text_of
from tests.support.console_person import said
from tests.support.console_visit import WIDER, load
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.ledger import add, minute
from tests.support.shards import Pipeline

SHOTS = ROOT / "build" / "console"
Pair = tuple[Pipeline, Pipeline]
LOST = "shard 1, postgres"
ALL = {"-4_Amex": "1000", "-3_Diners": "1000", "1_Mastercard": "1000", "2_Visa": "1000"}
STORE_DEAD_LETTER = """
INSERT INTO dead_letter (message_id, body, properties, queue, reason, error, state)
VALUES ('m', %(body)s, '{}', 'incoming_transactions.1', 'not_json', 'not JSON', 'open')
"""
SELECT_OPERATORS = "SELECT operator FROM operator_action"


@contextlib.contextmanager
def running(pair: Pair, keydb_server: servers.Keydb) -> Iterator[Console]:
    """A console of both."""
    with console_page.running(environment_of(pair, keydb_server)) as console:
        yield console


def environment_of(pair: Pair, keydb_server: servers.Keydb) -> dict[str, str]:
    """Return the settings of a console of both, whose own name the first."""
    return {
        **pair[0].environment,
        "KEYDB_URL": keydb_server.url(keydb_rights.OPERATOR),
        "SHARD_DSNS": " ".join(one.environment["POSTGRES_DSN"] for one in pair),
        "TICK_INTERVAL_SECONDS": "60",
    }


@pytest.fixture
def console(pair: Pair, keydb_server: servers.Keydb) -> Iterator[Console]:
    """Both have the tick of minute 2, in which Mastercard changed more than Visa."""
    for pipeline, provider, amount in zip(pair, (2, 1), (-50, 600), strict=True):
        with shards.syncing(pipeline, keydb_server) as syncer:
            syncer.tick(minute(1))
            add(pipeline.conn, provider, amount)
            syncer.tick(minute(2))
    with running(pair, keydb_server) as console:
        yield console


def test_balances_of_all_shards_are_one_list(console: Console) -> None:
    in_order = {**ALL, "1_Mastercard": "1600", "2_Visa": "950"}
    html = console.html()
    assert list(rows_of(html).items()) == list(in_order.items())
    assert "shard 0 at the tick of" in text_of(html, "main")
    assert text_of(html, "balances").count("same") == len(ALL)
    assert list(rows_of(console.html("/?order=change"))) == ["1_Mastercard", "2_Visa"]
    assert list(rows_of(console.html("/?search=er"))) == ["-3_Diners", "1_Mastercard"]
    assert next(iter(rows_of(console.html("/?search=-3")))) == "-3_Diners"
    assert rows_of(console.html("/?at=2020-01-01T00:01")) == ALL


def test_pages_of_all_shards_follow_one_another_without_a_gap(
    pair: Pair, keydb_server: servers.Keydb
) -> None:
    numbers = range(10, 210)
    for pipeline in pair:
        own = [(number, "Bank") for number in numbers if pipeline.shard.has(number)]
        with pipeline.conn.cursor() as cursor:
            cursor.executemany(shards.INSERT_PROVIDER, own)
        with shards.syncing(pipeline, keydb_server) as syncer:
            syncer.tick(minute(1))
            for number, _ in own:
                add(pipeline.conn, number, number)
            syncer.tick(minute(2))

    def listed(console: Console, path: str) -> Iterator[str]:
        while path:
            html = console.html(path)
            yield from rows_of(html)
            path = console_page.link_of(html, "next")

    with running(pair, keydb_server) as console:
        in_order = list(listed(console, "/"))
        found = list(listed(console, "/?search=_Bank"))
        by_change = list(listed(console, "/?order=change"))
    banks = [f"{number}_Bank" for number in numbers]
    assert in_order == [*ALL, *banks]
    assert found == banks
    assert by_change == banks[::-1]


def test_a_shard_that_is_down_is_said_and_the_others_are_shown(
    console: Console, pair: Pair, postgres_server: servers.Postgres
) -> None:
    assert LOST not in console.text("verdict")
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        pair[1].conn.close()
        with shards.postgres_down(admin, pair[1]):
            eventually(lambda: LOST in console.text("verdict"))
            html = console.html()
            assert list(rows_of(html)) == ["-4_Amex", "2_Visa"]
            assert "shard 1: postgres" in text_of(html, "main")
            assert rows_of(console.html("/shards/0/")) == {"-4_Amex": "1000", "2_Visa": "950"}
    eventually(lambda: len(rows_of(console.html())) == len(ALL))


def test_each_thing_is_found_in_its_own_shard(console: Console, pair: Pair) -> None:
    pair[1].conn.execute(STORE_DEAD_LETTER, {"body": b"no"})

    eventually(lambda: "1 open not_json 1" in console.text("dead-letters"))
    followed: httpx.Response = console.client.get("/providers/1", follow_redirects=True)
    assert followed.url.path == "/shards/1/providers/1"
    assert "1,600" in text_of(followed.text, "provider")
    assert "not_json" in console.text("letters", "/shards/1/dead-letters")
    assert "No such dead letters." in console.text("main", "/shards/0/dead-letters")


def test_a_dead_letter_is_replayed_on_the_page_of_its_shard_and_becomes_a_row_there(
    pair: Pair, keydb_server: servers.Keydb
) -> None:
    before = [len(messages.rows(one.conn)) for one in pair]
    pair[1].conn.execute(STORE_DEAD_LETTER, {"body": messages.body()})
    page = "/shards/1/dead-letters"
    with console_person.signed_in(environment_of(pair, keydb_server)) as ada:
        form = ada.form(page, page)
        tried = ada.send(page, **form, act="replay", note="the table was full")
        assert "1 new row" in said(tried, "trial")
        assert [len(messages.rows(one.conn)) for one in pair] == before
        done = ada.confirm(tried, page)

    assert "1 new row" in said(done, "done")
    assert [len(messages.rows(one.conn)) for one in pair] == [before[0], before[1] + 1]
    assert messages.reasons(pair[1].conn) == []
    recorded = [one.conn.execute(SELECT_OPERATORS).fetchall() for one in pair]
    assert recorded == [[], [("Ada (console)",)]]


def test_a_person_goes_from_the_page_of_all_to_that_of_one_and_back(console: Console) -> None:
    with (
        chromium.running() as browser,
        window(browser, str(console.client.base_url)) as opened,
    ):
        page = opened.page
        load(page, "/", "#shards", "#balances tr[data-key]")
        expect(page.locator(".strip svg.cells")).to_have_count(2)
        assert violations(page) == []
        page.screenshot(path=SHOTS / "shards-wide.png", full_page=True)
        page.set_viewport_size({"width": 390, "height": 844})
        page.screenshot(path=SHOTS / "shards-narrow.png", full_page=True)
        assert page.evaluate(WIDER) <= 0
        page.locator('#shards tr[data-shard="1"] a').click()
        expect(page.locator("#balances tr[data-key]")).to_have_count(2)
        expect(page.locator("#requests")).to_be_visible()
        assert page.evaluate(WIDER) <= 0
        page.get_by_role("link", name="1_Mastercard").click()
        expect(page.locator("#provider")).to_contain_text("1,600")
        page.get_by_role("link", name="all shards").click()
        expect(page.locator("#balances tr[data-key]")).to_have_count(len(ALL))
