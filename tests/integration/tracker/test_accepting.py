"""A request is written down and its items are published; who asks is answered."""

import json

import psycopg
import pytest

from shared.errors import Unavailable
from shared.request_message import QUEUE
from tests.support.eventually import eventually
from tests.support.tracking import (
    ITEMS,
    REPLIES,
    Life,
    Sender,
    accepting,
    body,
    item,
    tick,
    tracker_life,
)  # fmt: skip

UNFIT = {"id": "one", "value": 2}
LETTERS = "SELECT queue FROM dead_letter"


def test_items_are_published_as_they_came_under_identities_of_the_request_or_their_own(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send(
        b'{"request":"K","by":"me","items":[{"id":1, "value":600},{"value":1,"id":2,"n":3}]}'
    )
    sender.send(body(item(5), item(6, message_id="p-1"), UNFIT, key="L"))

    assert life.accept(2) == {"accepted": 2}
    assert sender.items() == [
        ("K:0", b'{"id":1, "value":600}'),
        ("K:1", b'{"value":1,"id":2,"n":3}'),
        ("L:0", b'{"id": 1, "value": 5}'),
        ("p-1", b'{"id": 1, "value": 6, "message_id": "p-1"}'),
        ("L:2", b'{"id": "one", "value": 2}'),
    ]
    found = conn.execute(
        "SELECT id, kind, submitted_by, items, numbers, provider_ids, values, message_ids,"
        " reply_to, correlation_id, published_at >= accepted_at, state FROM request ORDER BY id"
    ).fetchall()
    sent = (REPLIES, "c-1", True, "pending")
    assert found == [
        ("K", "transactions", "me", 2, [0, 1], [1, 2], [600, 1], ["K:0", "K:1"], *sent),
        ("L", "transactions", "me", 3, [0, 1, 2], [1, 1, None], [5, 6, None],
         ["L:0", "p-1", "L:2"], *sent),
    ]  # fmt: skip


def test_what_cannot_be_read_is_a_dead_letter_and_keeps_nothing_else_back(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    twice = item(1, message_id="same")
    sender.send(b"no request")
    sender.send(body(twice, twice, key="twice"))
    sender.send(body(item(600)))

    assert life.accept(3) == {"accepted": 1, "unfit": 2}
    found = conn.execute("SELECT queue, reason, state FROM dead_letter ORDER BY id").fetchall()
    assert found == [(QUEUE, "not_json", "open"), (QUEUE, "duplicate_identity", "open")]
    assert [identity for identity, _ in sender.items()] == ["K:0"]


def test_a_dead_letter_has_the_name_of_the_queue_that_its_request_came_from(
    conn: psycopg.Connection, dsn: str, amqp_url: str, sender: Sender
) -> None:
    of_shard_1 = "requests.1"
    with accepting(dsn, amqp_url, of_shard_1):
        sender.channel.basic_publish("", of_shard_1, b"no request", mandatory=True)
        eventually(lambda: conn.execute(LETTERS).fetchall() == [(of_shard_1,)])


def test_who_repeats_a_request_is_answered_once_it_is_decided_and_at_once_after_that(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    sender.send(body(item(600)), reply_to=None)
    life.accept()
    sender.send(body(item(600)), correlation_id="c-2")  # the first to ask for a reply
    sender.send(body(item(600)), correlation_id="c-2")
    sender.send(body(item(600)), correlation_id="c-3")
    life.accept(3)
    [(asked, pending)] = sender.replies()
    assert (asked, pending["state"], pending["missing"]) == ("c-3", "pending", 1)

    sender.ingest()
    tick(conn)
    life.run()
    [(first, document)] = sender.replies()
    sender.send(body(item(600)), correlation_id="c-4")
    life.accept()

    assert (first, document["state"]) == ("c-2", "done")
    assert sender.replies() == [("c-4", document)]


@pytest.mark.parametrize("queue", ["syncer.ticks", ITEMS])
def test_no_reply_goes_to_a_queue_that_is_none_for_replies(
    life: Life, sender: Sender, conn: psycopg.Connection, queue: str
) -> None:
    sender.channel.queue_declare(queue, durable=True)
    sender.send(body(item(600)), reply_to=queue)
    sender.send(body(item(601)), reply_to=queue)
    sender.send(body(ask="balances", key="Q"), reply_to=queue)
    assert life.accept(3) == {"accepted": 1, "conflict": 1, "question": 1}
    sender.ingest()
    tick(conn)
    life.run()

    assert sender.replies(queue) == []
    found = conn.execute("SELECT state, error, replied_at FROM request ORDER BY id").fetchall()
    assert found == [("done", "not_a_reply_queue", None)] * 2


def test_questions_are_answered_from_the_ticks(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO balance SELECT id, 1, id || '_' || provider_name, false, initial_value"
        " FROM initial_data"
    )
    boundary = tick(conn)
    conn.execute("UPDATE tick SET boundary = now() WHERE epoch = 1")
    ((boundary,),) = conn.execute("SELECT boundary FROM tick WHERE epoch = 1").fetchall()
    sender.send(body(ask="balances", key="all"))
    sender.send(body(ask="balances", key="one", provider="1_Visa"))
    sender.send(body(ask="statement", key="statement", provider=1))
    sender.send(body(ask="valuation", key="value", **{"in": "EUR"}))
    sender.send(body(ask="balances", key="bad", as_of="yesterday"))
    sender.send(body(ask="statement", key="who"))

    assert life.accept(6) == {"question": 6}
    told = {found["request"]: found for _, found in sender.replies()}

    stood = boundary.isoformat().replace("+00:00", "Z")
    visa = {"provider_id": 1, "key": "1_Visa", "balance": "1000", "tick": stood, "epoch": 1}
    assert told["all"]["balances"][0] == visa
    assert len(told["all"]["balances"]) == 2
    assert told["one"] == {
        "request": "one", "ask": "balances", "tick": stood, "epoch": 1, "balances": [visa],
    }  # fmt: skip
    assert told["statement"]["closing"]["balance"] == "1000"
    assert told["value"]["not_valued"] == {"no_symbol": 2}
    assert {key: told[key]["error"] for key in ("bad", "who")} == {
        "bad": "invalid_value", "who": "missing_field",
    }  # fmt: skip
    rows = conn.execute("SELECT kind FROM request WHERE state = 'done' AND replied_at IS NOT NULL")
    kinds = ["balances"] * 3 + ["statement"] * 2 + ["valuation"]
    assert sorted(rows) == [(one,) for one in kinds]


def test_an_answer_that_is_too_large_says_where_it_is(
    life: Life, sender: Sender, conn: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO balance SELECT n, 1, n || '_name', false, n FROM generate_series(1, 2000) n"
    )
    tick(conn)
    conn.execute("UPDATE tick SET boundary = now() WHERE epoch = 1")
    sender.send(body(ask="balances", as_of="2100-01-01T00:00:00Z"))
    life.accept()

    assert [found for _, found in sender.replies()] == [
        {
            "request": "K",
            "ask": "balances",
            "location": "/v1/balances?as_of=2100-01-01T00%3A00%3A00Z",
        }
    ]


def test_the_same_question_again_is_answered_again_and_another_is_a_conflict(
    life: Life, sender: Sender
) -> None:
    for question in (body(ask="statement"), body(ask="statement"), body(ask="balances")):
        sender.send(question)

    assert life.accept(3) == {"question": 2, "conflict": 1}
    errors = [found["error"] for _, found in sender.replies()]
    assert errors == ["missing_field", "missing_field", "idempotency_conflict"]


def test_items_are_not_lost_with_the_queue_that_they_go_to(
    life: Life, sender: Sender, dsn: str, amqp_url: str
) -> None:
    sender.channel.queue_delete(ITEMS)
    sender.send(json.dumps({"request": "K", "items": [item(1)]}).encode())
    with pytest.raises(Unavailable, match="no queue takes"):
        life.accept()
    assert life.document().published_at is None
    life.relay.close()

    with tracker_life(dsn, amqp_url) as next_life:  # makes the queue again
        assert next_life.accept() == {"repeated": 1}
        assert [identity for identity, _ in sender.items()] == ["K:0"]
