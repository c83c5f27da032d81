"""Replies: once a request is decided and shown, at least once, the same, to reply queues only."""

from typing import Any

import psycopg
import pytest

from tests.support.tracking import REPLIES, Life, Sender, body, item, tick

FULL = "replies.full"
WAITING = item(5, provider=9)


def decide(life: Life, sender: Sender, *items: object, **more: Any) -> None:
    sender.send(body(*items), **more)
    life.accept()
    sender.ingest()
    life.run()


def replied(conn: psycopg.Connection) -> tuple[bool, str | None]:
    row = conn.execute("SELECT replied_at IS NOT NULL, error FROM request").fetchone()
    assert row
    return row


def test_the_reply_is_the_document_and_comes_once_its_tick_is_shown(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    decide(life, sender, item(600), {"id": 1})
    boundary = tick(conn, shown=False)
    life.run()
    assert sender.replies() == []
    conn.execute("UPDATE tick SET published_at = now() WHERE epoch = 1")
    life.run()

    found = conn.execute(
        "SELECT accepted_at, published_at, decided_at, shown_at FROM request"
    ).fetchone()
    assert found
    times = [at.isoformat().replace("+00:00", "Z") for at in found]
    [(correlation_id, told)] = sender.replies()
    assert correlation_id == "c-1"
    assert told == {
        "request": "K",
        "state": "failed",
        "items": 2,
        "stored": 1,
        "dead": {"missing_field": 1},
        "waiting": 0,
        "missing": 0,
        "errors": [{"item": 1, "reason": "missing_field", "error": "the field value is missing"}],
        "accepted_at": times[0],
        "published_at": times[1],
        "decided_at": times[2],
        "seconds": life.document().seconds,
        "counted_by": boundary.isoformat().replace("+00:00", "Z"),
        "shown_at": times[3],
    }
    assert replied(conn) == (True, None)
    life.run()
    assert sender.replies() == []


def test_a_reply_is_published_persistently_and_named_after_its_request(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    decide(life, sender, item(600))
    tick(conn)
    life.run()

    _, about, _ = sender.channel.basic_get(REPLIES, auto_ack=True)
    assert about
    assert (about.message_id, about.delivery_mode) == ("K:reply", 2)
    assert about.content_type == "application/json"


def test_a_reply_that_could_not_be_noted_is_sent_again_and_says_the_same(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    decide(life, sender, item(600))
    tick(conn)
    life.run()
    first = sender.replies()
    conn.execute("DELETE FROM historical_transactions")
    conn.execute("UPDATE request SET reply_due = 'decided', replied_at = NULL")
    life.run()

    assert sender.replies() == first


def test_a_request_without_a_reply_queue_gets_none_and_is_decided_all_the_same(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    decide(life, sender, item(600), reply_to=None, correlation_id=None)
    tick(conn)
    life.run()

    assert life.document().state == "done"
    assert replied(conn) == (False, None)


def test_a_reply_queue_that_is_gone_is_an_error_of_the_request_and_holds_up_no_other(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send(body(item(1), key="lost"), reply_to="replies.gone")
    sender.send(body(item(2), key="told"))
    life.accept(2)
    sender.ingest()
    tick(conn)
    life.run()

    found = conn.execute(
        "SELECT id, state, error, replied_at IS NOT NULL FROM request ORDER BY id"
    ).fetchall()
    assert found == [("lost", "done", "unroutable", False), ("told", "done", None, True)]
    assert [told["request"] for _, told in sender.replies()] == ["told"]


def test_a_reply_queue_that_is_full_gets_the_reply_at_a_tick_at_which_it_is_not(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    bound = {"x-queue-type": "classic", "x-max-length": 1, "x-overflow": "reject-publish"}
    sender.channel.queue_declare(FULL, durable=True, arguments=bound)
    sender.channel.basic_publish("", FULL, b"{}")
    decide(life, sender, item(600), reply_to=FULL)
    tick(conn)
    life.run()
    assert replied(conn) == (False, "refused")

    sender.replies(FULL)
    life.run()
    assert replied(conn) == (False, "refused")
    tick(conn)
    life.run()
    life.run()
    assert replied(conn) == (True, None)
    assert [told["state"] for _, told in sender.replies(FULL)] == ["done"]


def test_when_only_waiting_items_are_left_one_reply_says_so_and_another_the_end(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    decide(life, sender, item(600), WAITING)
    [(_, told)] = sender.replies()
    assert (told["state"], told["stored"], told["waiting"]) == ("running", 1, 1)
    for _ in range(2):
        tick(conn)
        life.run()
    assert sender.replies() == []
    assert replied(conn) == (False, None)

    conn.execute("UPDATE dead_letter SET state = 'open', reason = 'refused_by_database'")
    tick(conn)
    life.run()
    [(_, told)] = sender.replies()
    assert (told["state"], told["dead"]) == ("failed", {"refused_by_database": 1})
    assert told["counted_by"]


@pytest.mark.parametrize("provider_comes", [True, False])
def test_who_was_away_when_items_began_to_wait_gets_the_end_all_the_same(
    life: Life, sender: Sender, conn: psycopg.Connection, *, provider_comes: bool
) -> None:
    decide(life, sender, WAITING, reply_to="replies.later")
    assert replied(conn) == (False, "unroutable")
    sender.channel.queue_declare("replies.later", durable=True)
    if provider_comes:
        conn.execute("INSERT INTO initial_data VALUES (9, 'Late', 0)")
        conn.execute(
            "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
            " VALUES (9, 5, 'K:0')"
        )
        conn.execute("DELETE FROM dead_letter")
    else:
        conn.execute("UPDATE dead_letter SET state = 'open', reason = 'refused_by_database'")
    tick(conn)
    life.run()

    [(_, told)] = sender.replies("replies.later")
    assert told["state"] == ("done" if provider_comes else "failed")
    assert replied(conn) == (True, None)


def test_a_reply_with_too_many_errors_says_where_they_are(life: Life, sender: Sender) -> None:
    decide(life, sender, *[{"id": number} for number in range(1500)])

    [(_, told)] = sender.replies()
    assert (told["dead"], told["location"]) == ({"missing_field": 1500}, "/v1/requests/K")
    assert "errors" not in told
    assert len(life.document().errors) == 1500
