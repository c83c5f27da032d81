"""Dead letters by the console, with the rights of its login: tried, edited, replayed, purged."""

import re

import psycopg
import pytest

from ops.console import dead_letter_pages
from ops.dead_letters import store as dead_letter_store
from ops.dead_letters.core import Choice
from tests.support import console_page, console_person, messages, ops_tool
from tests.support.console_page import text_of
from tests.support.console_person import Person, said
from tests.support.messages import body, counted, rows, truth
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import actions, dead_letters, store

MARKUP = '<script>alert("x")</script>\u202e\x1b[31m'


def test_a_dead_letter_is_edited_tried_and_replayed_to_a_row_on_record(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b'{"id": 1, "value": "600"}', "mended"))
    (number,) = dead_letters(ops).values()
    form = ada.form(f"/dead-letters/{number}", "/dead-letters")
    form |= {"act": "replay", "body": body().decode(), "note": "the amount was text"}

    tried = ada.send("/dead-letters", **form)

    assert "Replay: 1 dead letter" in said(tried, "trial")
    assert "1 new row" in said(tried, "trial")
    assert (rows(conn), len(dead_letters(ops)), actions(conn)) == ([], 1, [])

    done = ada.confirm(tried, "/dead-letters")

    assert "1 new row" in said(done, "done")
    assert rows(conn) == [(1, 600)]
    assert counted(conn) == truth(conn)
    assert actions(conn) == [
        ("dead_letter_replayed", str(number), "row", "Ada (console)", b'{"id": 1, "value": "600"}')
    ]
    assert "Ada (console) dead_letter_replayed" in said(done, "recorded")
    gone = ada.get(f"/dead-letters/{number}")
    assert gone.status_code == 404
    assert "replayed at" in said(gone, "said")
    assert "by Ada (console)" in said(gone, "said")


def test_dead_letters_of_a_filter_are_replayed_and_those_that_stay_say_why(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(9), "waits"), (b"no", "unfit"), (b"also no", "unfit too"))
    form = ada.form("/dead-letters?reason=not_json", "/dead-letters")

    tried = ada.send("/dead-letters", **form, act="replay", note="again")
    done = ada.confirm(tried, "/dead-letters")

    assert "2 still a dead letter: not_json" in said(done, "done")
    assert len(actions(conn)) == 2
    assert sorted(messages.reasons(conn)) == ["not_json", "not_json", "unknown_provider"]


def test_dead_letters_of_one_provider_are_listed_and_acted_upon(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(9), "waits"), (b'{"id": 1, "value": "6"}', "unfit"), (b"no", "nobody's"))
    number = dead_letters(ops)["unfit"]

    page = ada.get("/dead-letters?provider=1_Visa").text
    assert re.findall(r'data-letter="(\d+)"', page) == [str(number)]
    assert "1 dead letter chosen" in text_of(page, "list-title")
    form = console_person.fields(page, "/dead-letters")
    ada.confirm(ada.send("/dead-letters", **form, act="purge", note="tests"), "/dead-letters")

    assert sorted(messages.reasons(conn)) == ["not_json", "unknown_provider"]
    assert "No such dead letters." in ada.get("/dead-letters?provider=2").text
    assert ada.get("/dead-letters?provider=x").status_code == 400


def test_dead_letters_of_one_provider_are_searched_some_at_a_time(
    monkeypatch: pytest.MonkeyPatch, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"no", "a"), (b"no", "b"), (b'{"id": 1, "value": "6"}', "c"))
    first, second, third = dead_letters(ops).values()
    monkeypatch.setattr(dead_letter_store, "PAGE", 1)
    monkeypatch.setattr(dead_letter_pages, "PAGES_MAX", 2)
    choice = Choice(provider=1)

    assert dead_letter_pages.some(conn, choice, 0) == ([], second)
    found, after = dead_letter_pages.some(conn, choice, second)
    assert ([one.id for one in found], after) == ([third], None)
    assert first < second


def test_a_dead_letter_is_purged_after_a_trial_that_changed_nothing(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"no", "first"), (b"not", "second"))
    first, second = dead_letters(ops).values()
    form = ada.form(f"/dead-letters/{first}", "/dead-letters")

    tried = ada.send("/dead-letters", **form, act="purge", note="a test of theirs")
    assert "deleted (not_json)" in said(tried, "trial")
    assert len(dead_letters(ops)) == 2
    ada.confirm(tried, "/dead-letters")

    assert list(dead_letters(ops).values()) == [second]
    assert actions(conn) == [("dead_letter_purged", str(first), "deleted", "Ada (console)", None)]


def test_what_became_another_number_since_the_trial_is_shown_again_and_not_done(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"no", "first"), (b"not", "second"))
    form = ada.form("/dead-letters", "/dead-letters")
    tried = ada.send("/dead-letters", **form, act="purge", note="tests")
    ops("dead-letters", "purge", str(dead_letters(ops)["first"]), "--yes")

    again = ada.confirm(tried, "/dead-letters")

    assert "There are 1 of them now, not 2." in said(again, "trial")
    assert messages.reasons(conn) == ["not_json"]
    ada.confirm(again, "/dead-letters")
    assert messages.reasons(conn) == []


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        ({"note": ""}, (422, "Say why")),
        ({"act": "drop"}, (400, "act")),
        ({"ids": "1 x"}, (400, "ids")),
        ({"ids": "", "reason": "no_such"}, (400, "no_such")),
        ({"ids": "", "reason": "too_large"}, (404, "no such dead letters")),
        ({"act": "replay", "ids": "1 2", "body": "[]", "original": "{}"}, (400, "one dead letter")),
        ({"csrf": "another"}, (403, "This form is too old")),
    ],
)
def test_a_form_that_cannot_be_done_says_why_and_does_nothing(
    ada: Person,
    ops: Tool,
    conn: psycopg.Connection,
    given: dict[str, str],
    refused: tuple[int, str],
) -> None:
    store(ops, (b"no", "first"))
    (number,) = dead_letters(ops).values()
    form = ada.form(f"/dead-letters/{number}", "/dead-letters")

    answer = ada.send("/dead-letters", **form | {"act": "purge", "note": "tests"} | given)

    status, says = refused
    assert answer.status_code == status
    assert says in said(answer, "said")
    assert (len(dead_letters(ops)), actions(conn)) == (1, [])


def test_a_provider_that_messages_wait_for_is_added_and_they_become_rows(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(9, 600), "waits"), (body(9, -100), "waits too"))
    form = ada.form("/dead-letters", "/providers")
    assert form["id"] == "9"

    tried = ada.send("/providers", **form, name="Maestro", initial="1000")
    assert "2 messages, together 500" in said(tried, "trial")
    assert conn.execute("SELECT count(*) FROM initial_data WHERE id = 9").fetchone() == (0,)
    ada.confirm(tried, "/providers").raise_for_status()

    added = conn.execute("SELECT provider_name, initial_value FROM initial_data WHERE id = 9")
    assert added.fetchall() == [("Maestro", 1000)]
    with messages.ingest_connection(ops.settings["POSTGRES_DSN"]) as writer:
        assert messages.release_parked(writer) == 2
    assert actions(conn) == [("provider_added", "9", "done", "Ada (console)", None)]


def test_what_others_wrote_is_shown_as_text(ada: Person, ops: Tool) -> None:
    store(ops, (MARKUP.encode() + b"\xff\x00", MARKUP))
    (number,) = dead_letters(ops).values()

    whole = ada.get(f"/dead-letters/{number}").text
    listed = ada.get("/dead-letters").text

    for page in (whole, listed):
        assert "<script>alert" not in page
        assert "\u202e" not in page
        assert "\x1b" not in page
        assert "&lt;script&gt;alert" in page
    assert "3c 73 63 72 69 70 74 3e" in whole


def test_a_body_with_line_ends_that_was_not_edited_is_replayed_as_it_is(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    written = b'{"id": 1,\r\n"value": 600, \r\n}\n'
    store(ops, (written, "lines"))
    (number,) = dead_letters(ops).values()
    form = ada.form(f"/dead-letters/{number}", "/dead-letters")
    sent = {name: one.replace("\r\n", "\n").replace("\n", "\r\n") for name, one in form.items()}

    ada.confirm(ada.send("/dead-letters", **sent, act="replay", note="again"), "/dead-letters")

    assert messages.dead_letters(conn) == [("not_json", "open", written)]
    assert actions(conn) == [
        ("dead_letter_replayed", str(number), "not_json", "Ada (console)", None)
    ]


def test_a_console_as_shipped_shows_dead_letters_and_changes_nothing(ops: Tool) -> None:
    store(ops, (b"no", "first"))
    (number,) = dead_letters(ops).values()
    with console_page.running(ops.settings) as console:
        assert "not_json" in console.text("letter", f"/dead-letters/{number}")
        for path in ("/dead-letters", "/providers", "/sign-in", "/sign-out"):
            answer = console.client.post(path, data={"ids": str(number), "act": "purge"})
            assert (answer.status_code, "read-only" in answer.text) == (403, True)
    assert len(dead_letters(ops)) == 1


def test_dead_letters_that_cannot_be_asked_for_are_said_to_be() -> None:
    with console_page.running(ops_tool.deployment().settings) as console:
        answer = console.client.get("/dead-letters")

        assert answer.status_code == 503
        assert "postgres cannot be reached" in answer.text
