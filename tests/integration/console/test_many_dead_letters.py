"""As many dead letters at once as may be chosen: all are done and counted; more are not begun with.

In this process, and with another deadline: how long it takes is the machine's.
"""

import httpx
import psycopg
import pytest
from starlette.applications import Starlette

from ops.console import acting, dead_letter_acts, dead_letter_pages, rendering
from ops.console.access import surround
from ops.console.dead_letter_acts import DEAD_LETTERS_MAX
from tests.support.asgi_browser import Browser
from tests.support.console_person import fields, said
from tests.support.console_settings import PASSWORD, console_settings
from tests.support.messages import body, counted, reasons, rows, truth
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import actions, store

PATH = "/dead-letters"


@pytest.fixture
def browser(ops: Tool, monkeypatch: pytest.MonkeyPatch) -> Browser:
    """One that somebody is signed in with."""
    monkeypatch.setattr(acting, "DEADLINE_S", 60)
    for module in (dead_letter_pages, dead_letter_acts):
        monkeypatch.setattr(module, "LIMITS", "-c statement_timeout=60s")
    chosen = console_settings(console_writes="on", postgres_dsn=ops.settings["POSTGRES_DSN"])
    made = Browser(surround(Starlette(), chosen, rendering.environment()))
    form = fields(made.get("/sign-in").text, "/sign-in")
    assert made.post("/sign-in", form | {"name": "Ada", "password": PASSWORD}).status_code == 303
    return made


def sent(browser: Browser, act: str, **more: str) -> httpx.Response:
    """Return what is answered to the form of all dead letters."""
    form = fields(browser.get(PATH).text, PATH)
    return browser.post(PATH, form | {"act": act, "note": "tests"} | more)


def confirmed(browser: Browser, tried: httpx.Response) -> httpx.Response:
    return browser.post(PATH, fields(tried.text, PATH) | {"confirmed": "yes"})


def test_as_many_as_may_be_chosen_are_replayed(
    browser: Browser, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, *((body(9), f"waits-{number}") for number in range(DEAD_LETTERS_MAX)))
    conn.execute("INSERT INTO initial_data VALUES (9, 'Maestro', 0)")

    tried = sent(browser, "replay")
    done = confirmed(browser, tried)

    assert f"{DEAD_LETTERS_MAX:,} new rows" in said(tried, "trial")
    assert f"{DEAD_LETTERS_MAX:,} new rows" in said(done, "done")
    assert (len(rows(conn)), reasons(conn), len(actions(conn))) == (
        DEAD_LETTERS_MAX,
        [],
        DEAD_LETTERS_MAX,
    )
    assert counted(conn) == truth(conn)


def test_as_many_as_may_be_chosen_are_purged_and_more_are_not_begun_with(
    browser: Browser, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, *((b"no", f"unfit-{number}") for number in range(DEAD_LETTERS_MAX + 1)))

    refused = sent(browser, "purge")
    assert (refused.status_code, len(reasons(conn))) == (422, DEAD_LETTERS_MAX + 1)
    assert f"At most {DEAD_LETTERS_MAX:,} dead letters at once, and these are 1,001" in said(
        refused, "said"
    )
    conn.execute("DELETE FROM dead_letter WHERE id = (SELECT max(id) FROM dead_letter)")
    done = confirmed(browser, sent(browser, "purge"))

    assert f"{DEAD_LETTERS_MAX:,} deleted (not_json)" in said(done, "done")
    assert (reasons(conn), len(actions(conn))) == ([], DEAD_LETTERS_MAX)
