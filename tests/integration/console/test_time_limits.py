"""No request hangs: with a server that is frozen each is answered within three seconds."""

import re
import time
from collections.abc import Iterator
from functools import partial

import httpx
import psycopg
import pytest

from ops.console import acting
from services.syncer.service import Syncer
from tests.support import console_page, console_person
from tests.support.concurrently import at_once
from tests.support.console_page import PATIENCE_S, rows_of, text_of
from tests.support.console_person import Person, said
from tests.support.eventually import eventually
from tests.support.messages import body, rows
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import actions, dead_letters, store
from tests.support.tcp_proxy import TcpProxy, proxying
from tests.support.timing import at_best_s

PROMISED_S = 3.0
PATHS = (
    "/", "/?at=2020-01-01T00:01", "/providers/1", "/providers/1/series", "/ticks", "/ticks/1",
    "/dead-letters", "/dead-letters/1", "/acts/7",
)  # fmt: skip
SAID = re.compile("no answer|answers nobody|get a connection")
BEFORE_COMMIT = acting.SELECT_XID.encode()
COMMIT = b"COMMIT\0"
"""As it is sent; READ COMMITTED is something else."""
Answers = dict[str, httpx.Response]


def asked(client: httpx.Client, *paths: str) -> tuple[float, Answers]:
    """Ask for all at once; return how long the slowest took, and the answers."""
    began = time.monotonic()
    found = at_once(*(partial(client.get, path) for path in paths))
    return time.monotonic() - began, dict(zip(paths, found, strict=True))


def allowed_s(client: httpx.Client, *paths: str) -> float:
    """Return in what time they must be there, with servers that are well now.

    What this machine takes for them anyway, which may be busy, is no waiting for a server.
    """
    return PROMISED_S + asked(client, *paths)[0]


def slowest_s(client: httpx.Client, good_s: float, *paths: str) -> float:
    return at_best_s(lambda: asked(client, *paths)[0], good_s)


@pytest.fixture
def proxied(ops: Tool) -> Iterator[tuple[TcpProxy, Person]]:
    """Somebody at a console, and what is between it and Postgres."""
    with proxying(ops.settings["POSTGRES_DSN"]) as (proxy, url):
        settings = ops.settings | {"POSTGRES_DSN": url}
        with console_person.signed_in(settings) as person:
            yield proxy, person


def test_with_a_frozen_postgres_each_page_is_there_and_says_so(
    settings: dict[str, str], syncer: Syncer
) -> None:
    with (
        proxying(settings["POSTGRES_DSN"]) as (proxy, url),
        console_page.running(settings | {"POSTGRES_DSN": url}) as console,
    ):
        console.html("/providers/1")  # there are connections by now
        within_s = allowed_s(console.client, *PATHS)
        eventually(lambda: "Being asked" not in console.text("doctor"), PATIENCE_S)
        with proxy.frozen():
            assert slowest_s(console.client, within_s, *PATHS) <= within_s
            eventually(lambda: reports_postgres_alone(console.client.get("/").text), PATIENCE_S)
            _, found = asked(console.client, *PATHS)
            assert console.program.stop() == 0
    for path in PATHS:
        assert SAID.search(found[path].text), (path, text_of(found[path].text, "verdict"))


def test_with_a_frozen_keydb_balances_are_shown_and_not_compared(
    settings: dict[str, str], syncer: Syncer
) -> None:
    with (
        proxying(settings["KEYDB_URL"]) as (proxy, url),
        console_page.running(settings | {"KEYDB_URL": url}) as console,
    ):
        console.html()
        many = ["/", "/providers/1", *(f"/?search={number}" for number in range(20))]
        within_s = allowed_s(console.client, *many)
        with proxy.frozen():
            assert slowest_s(console.client, within_s, *many) <= within_s
            provider = console.text("provider", "/providers/1")
            eventually(lambda: postgres_alone(console.client.get("/").text), PATIENCE_S)
    assert "1,300" in provider


def test_events_go_on_and_say_what_gives_no_answer(settings: dict[str, str]) -> None:
    with (
        proxying(settings["POSTGRES_DSN"]) as (proxy, url),
        console_page.running(settings | {"POSTGRES_DSN": url}) as console,
        proxy.frozen(),
        console.client.stream("GET", "/events") as answer,
    ):
        looks, names = 0, set()
        for line in answer.iter_lines():
            names.add(line)
            looks += line == "event: looked"
            if looks == 2:
                break
    assert "event: balances" in names


def test_a_form_that_postgres_does_not_answer_is_undone_and_said_to_be(
    proxied: tuple[TcpProxy, Person], ops: Tool, conn: psycopg.Connection
) -> None:
    proxy, ada = proxied
    store(ops, (body(9), "waits"))
    purge = purging(ada, ops)
    add = ada.form("/dead-letters", "/providers") | {
        "name": "Maestro",
        "initial": "1",
        "confirmed": "yes",
    }
    answers: list[httpx.Response] = []

    def send_s() -> float:
        began = time.monotonic()
        answers[:] = at_once(
            partial(ada.client.post, "/dead-letters", data=purge),
            partial(ada.client.post, "/providers", data=add),
        )
        return time.monotonic() - began

    within_s = allowed_s(ada.client, "/dead-letters", "/dead-letters")
    with proxy.frozen():
        assert at_best_s(send_s, within_s) <= within_s
    for one in answers:
        assert (one.status_code, "Nothing was done" in said(one, "said")) == (503, True)
    eventually(lambda: waiting_for_us(conn) == 0)
    assert (len(dead_letters(ops)), actions(conn), rows(conn)) == (2, [], [])
    assert conn.execute("SELECT count(*) FROM initial_data WHERE id = 9").fetchone() == (0,)


def test_what_a_lock_holds_up_is_undone_and_is_not_done_later(
    proxied: tuple[TcpProxy, Person], ops: Tool, conn: psycopg.Connection
) -> None:
    _, ada = proxied
    form = purging(ada, ops)
    with conn.transaction():
        conn.execute("SELECT FROM dead_letter FOR UPDATE")
        undone = ada.client.post("/dead-letters", data=form)

    assert (undone.status_code, "Nothing was done" in said(undone, "said")) == (503, True)
    eventually(lambda: waiting_for_us(conn) == 0)
    assert (len(dead_letters(ops)), actions(conn)) == (1, [])
    again = console_person.fields(undone.text, "/dead-letters")
    assert again == form
    assert "deleted" in said(ada.send("/dead-letters", **again), "done")


def test_of_what_was_said_to_be_undone_nothing_is_committed_later(
    proxied: tuple[TcpProxy, Person], ops: Tool, conn: psycopg.Connection
) -> None:
    proxy, ada = proxied
    form = purging(ada, ops)
    held = proxy.hold(BEFORE_COMMIT)

    def send() -> httpx.Response:
        """Send it until it comes so far: a busy machine may have no time for that."""
        answer = ada.client.post("/dead-letters", data=form)
        return answer if held.done.is_set() else send()

    undone = send()

    assert (undone.status_code, "Nothing was done" in said(undone, "said")) == (503, True)
    assert waiting_for_us(conn) >= 1
    proxy.release()
    eventually(lambda: waiting_for_us(conn) == 0)
    assert (len(dead_letters(ops)), actions(conn)) == (1, [])


def test_of_a_commit_without_an_answer_the_person_is_told_what_became_of_it(
    proxied: tuple[TcpProxy, Person], ops: Tool, conn: psycopg.Connection
) -> None:
    proxy, ada = proxied
    form = purging(ada, ops)
    proxy.hold(COMMIT)

    answer = ada.send("/dead-letters", **form)

    told = "it was done, or nothing was" in said(answer, "said")
    assert (answer.status_code, told) == (503, True)
    (path,) = re.findall(r'href="(/acts/\d+)"', answer.text)
    assert "has not decided yet" in said(ada.get(path), "said")
    proxy.release()
    eventually(lambda: "It was done." in said(ada.client.get(path), "said"))
    assert [subject for _, subject, *_ in actions(conn)] == [form["ids"]]


def test_of_a_commit_that_was_lost_the_person_is_told_that_nothing_was_done(
    proxied: tuple[TcpProxy, Person], ops: Tool, conn: psycopg.Connection
) -> None:
    proxy, ada = proxied
    form = purging(ada, ops)
    proxy.lose(COMMIT)

    answer = ada.send("/dead-letters", **form)

    (path,) = re.findall(r'href="(/acts/\d+)"', answer.text)
    eventually(lambda: "Nothing was done" in said(ada.client.get(path), "said"))
    assert (len(dead_letters(ops)), actions(conn)) == (1, [])


def reports_postgres_alone(html: str) -> bool:
    """Say whether a page reports Postgres as down, and not KeyDB, which may be late."""
    verdict = text_of(html, "verdict")
    return "postgres gives no answer" in verdict and "keydb gives no answer" not in verdict


def postgres_alone(html: str) -> bool:
    """Say whether a page shows what Postgres has, and that KeyDB was not compared with it."""
    return (
        rows_of(html) == {"1_Visa": "1300", "2_Mastercard": "1800"}
        and "Not compared with KeyDB" in text_of(html, "main")
        and "postgres gives no answer" not in text_of(html, "verdict")
    )


def purging(ada: Person, ops: Tool) -> dict[str, str]:
    """Store a dead letter; return the form that has it purged."""
    store(ops, (b"no", "first"))
    number = dead_letters(ops)["first"]
    form = ada.form(f"/dead-letters/{number}", "/dead-letters")
    return form | {"act": "purge", "note": "tests", "count": "1", "confirmed": "yes"}


def waiting_for_us(conn: psycopg.Connection) -> int:
    """Return how many transactions of the console's there are still."""
    found = conn.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'minutebook-ops'"
        " AND datname = current_database() AND state <> 'idle'"
    ).fetchone()
    return int(found[0]) if found else 0
