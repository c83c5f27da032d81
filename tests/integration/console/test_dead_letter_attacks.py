"""Dead letters under attack: confirmed twice, and with bodies and identities that are broken."""

from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.support import console_person
from tests.support.console_person import Person, said
from tests.support.eventually import eventually
from tests.support.messages import body, counted, rows, truth
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import actions, dead_letters, store

BROKEN: list[tuple[dict[str, str], int]] = [
    ({"message_id": "a\0b"}, 422),
    ({"message_id": "x" * 300}, 200),
    ({"body": "[" * 10_000}, 200),
    ({"body": ""}, 200),
    ({"body": "\0"}, 200),
    ({"body": '{"id": 1, "value": 1e400}'}, 200),
    ({"note": "a\0b"}, 422),
    ({"note": "x" * 1001}, 422),
    ({"ids": "9" * 18}, 200),
    ({"ids": "9" * 19}, 400),
]
NO_PROVIDERS: list[tuple[dict[str, str], int]] = [
    ({"name": "a\0"}, 422),
    ({"name": " "}, 422),
    ({"id": "9" * 19}, 422),
    ({"id": "x"}, 422),
    ({"initial": "1.5"}, 422),
    ({"initial": "9" * 19}, 409),
    ({"id": "1"}, 409),
]
HIDDEN = ("\u202e", "\u200b", "\x1b")


def test_two_who_confirm_at_the_same_time_make_one_row(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b'{"id": 1, "value": "600"}', "twice"))
    (number,) = dead_letters(ops).values()
    form = ada.form(f"/dead-letters/{number}", "/dead-letters")
    form |= {"act": "replay", "body": body().decode(), "note": "text"}
    tried = ada.send("/dead-letters", **form)
    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(lambda _: ada.confirm(tried, "/dead-letters"), range(6)))

    assert {one.status_code for one in done} <= {200, 503}  # on a busy machine some are too late

    def settled() -> bool:
        return "There are 0 of them now" in said(ada.confirm(tried, "/dead-letters"), "trial")

    eventually(settled)
    assert rows(conn) == [(1, 600)]
    assert counted(conn) == truth(conn)
    assert len(actions(conn)) == 1
    assert sum("1 new row" in said(one, "done") for one in done) <= 1


def test_what_is_broken_is_said_and_changes_nothing(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b'{"id": 1, "value": "600"}', "first"))
    (number,) = dead_letters(ops).values()
    form = ada.form(f"/dead-letters/{number}", "/dead-letters") | {"act": "replay", "note": "tests"}

    for given, status in BROKEN:
        answer = ada.send("/dead-letters", **form | given)

        assert answer.status_code == status, given
        assert "row" not in said(answer, "trial"), given
        assert (len(dead_letters(ops)), actions(conn), rows(conn)) == (1, [], []), given


def test_a_blank_that_was_copied_with_an_identity_makes_no_second_row(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(), "payment-1"), (b'{"id": 1, "value": "600"}', "second"))
    number = dead_letters(ops)["second"]
    form = ada.form(f"/dead-letters/{number}", "/dead-letters")
    form |= {"act": "replay", "body": body().decode(), "note": "again"}

    form["message_id"] = " payment-1\t"
    tried = ada.send("/dead-letters", **form)
    ada.confirm(tried, "/dead-letters")

    assert rows(conn) == [(1, 600)]
    assert [outcome for _, _, outcome, *_ in actions(conn)] == ["duplicate"]


def test_a_body_that_is_not_what_is_seen_cannot_be_edited(ada: Person, ops: Tool) -> None:
    store(ops, *((f'{{"id": 1, "value": "{one}600"}}'.encode(), repr(one)) for one in HIDDEN))

    for sign, number in zip(HIDDEN, dead_letters(ops).values(), strict=True):
        page = ada.get(f"/dead-letters/{number}").text

        assert sign not in page
        assert "body" not in console_person.fields(page, "/dead-letters")


def test_a_dead_letter_with_much_in_it_is_a_page(ada: Person, ops: Tool) -> None:
    store(ops, (b'{"x": "' + b"<" * 900_000 + b'"}', "large"))
    (number,) = dead_letters(ops).values()

    answer = ada.get(f"/dead-letters/{number}")

    assert answer.status_code == 200
    assert len(answer.content) < 2**21
    assert ada.get("/dead-letters").status_code == 200


def test_dead_letters_that_somebody_locked_are_said_to_be_and_nobody_waits(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"no", "first"))
    with conn.transaction():
        conn.execute("LOCK TABLE dead_letter IN ACCESS EXCLUSIVE MODE")
        answer = ada.client.get("/dead-letters")

    assert answer.status_code == 503


def test_a_provider_that_cannot_be_added_is_said_so_at_the_trial(
    ada: Person, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(9, 600), "waits"))
    form = ada.form("/dead-letters", "/providers") | {"name": "Maestro", "initial": "0"}

    for given, status in NO_PROVIDERS:
        answer = ada.send("/providers", **form | given)
        assert answer.status_code == status, given

    assert actions(conn) == []
