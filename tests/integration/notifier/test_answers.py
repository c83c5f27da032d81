"""Answers say that a notification was delivered: the first one counts."""

import psycopg
import pytest

from services.notifier import answers
from shared.unfit import Unfit
from tests.support import alert_records
from tests.support.alert_records import add_notification, dead_letters, publish, working
from tests.support.eventually import eventually

DELIVERED = "SELECT id, delivered_at FROM notification ORDER BY id"


def delivered(conn: psycopg.Connection) -> dict[str, object]:
    return dict(conn.execute(DELIVERED).fetchall())


def test_the_first_answer_is_when_it_was_delivered(conn: psycopg.Connection) -> None:
    add_notification(conn, "n1")
    add_notification(conn, "n2")

    assert answers.note(conn, b'{"id": "n1", "by": "mail"}') == "applied"
    first = delivered(conn)
    assert answers.note(conn, b'{"id": "n1"}') == "ignored"

    assert delivered(conn) == first
    assert [name for name, at in first.items() if at] == ["n1"]


@pytest.mark.parametrize(
    ("why", "body"),
    [
        ("not_json", b"n1"),
        ("not_object", b'"n1"'),
        ("missing_field", b"{}"),
        ("wrong_type", b'{"id": 1}'),
        ("duplicate_key", b'{"id": "n1", "id": "n2"}'),
        ("unknown_notification", b'{"id": "n2"}'),
        ("too_large", b'{"id": "%s"}' % (b"x" * 70_000)),
    ],
)
def test_an_answer_that_names_none_is_unfit(
    conn: psycopg.Connection, why: str, body: bytes
) -> None:
    add_notification(conn, "n1")

    with pytest.raises(Unfit) as caught:
        answers.note(conn, body)

    assert caught.value.reason == why
    assert delivered(conn) == {"n1": None}


def test_answers_of_the_queue_are_noted_and_unfit_ones_are_dead_letters(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    for number in range(30):
        add_notification(conn, f"n{number}")
    add_notification(conn, "last")

    with working(dsn, amqp_url, answers.QUEUE):
        bodies = [b'{"id": "n%d"}' % number for number in range(30)]
        publish(amqp_url, b"no", b'{"id": "gone"}', *bodies, *bodies, queue=answers.QUEUE)
        publish(amqp_url, b'{"id": "last"}', queue=answers.QUEUE)
        eventually(lambda: all(delivered(conn).values()))

    assert dead_letters(conn) == [
        (answers.QUEUE, "not_json"),
        (answers.QUEUE, "unknown_notification"),
    ]
    assert alert_records.left_in_queue(amqp_url, answers.QUEUE) == 0
