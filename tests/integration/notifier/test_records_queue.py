"""The queue of alerts: in order, acknowledged once stored, unfit ones are dead letters."""

import psycopg

from tests.support import alert_records, messages
from tests.support.alert_records import (
    BELOW,
    EACH,
    UNFIT_RECORDS,
    alerts,
    dead_letters,
    publish,
    record,
    working,
)  # fmt: skip
from tests.support.eventually import eventually


def test_what_an_unfit_record_has_changed_by_then_is_taken_back(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    with working(dsn, amqp_url):
        each = [record(alert=EACH, source_id=str(number)) for number in range(101)]
        publish(amqp_url, *each, record(source_id="last"))
        eventually(lambda: "last" in alerts(conn))

    assert set(alerts(conn)) == {*map(str, range(100)), "last"}
    assert dead_letters(conn) == [("alerts", "too_many")]


def test_the_queue_has_one_active_consumer(dsn: str, amqp_url: str) -> None:
    with working(dsn, amqp_url), messages.channel(amqp_url) as other:
        # Refused if it were made in another way.
        other.queue_declare("alerts", durable=True, arguments={"x-single-active-consumer": True})


def test_records_of_the_queue_are_acted_upon_in_order_and_acknowledged(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    with working(dsn, amqp_url):
        publish(
            amqp_url,
            *(record("MODIFIED", BELOW | {"threshold": number}) for number in range(100)),
            *(record(source_id=f"B{number}") for number in range(100)),
        )
        eventually(lambda: len(alerts(conn)) == 101)
        assert alerts(conn)["A"] == 99

    assert alert_records.left_in_queue(amqp_url) == 0
    assert dead_letters(conn) == []


def test_unfit_ones_become_dead_letters_with_their_reason_and_hold_up_nobody(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    unfit = [(why, body) for why, bodies in UNFIT_RECORDS.items() for body in bodies]
    unfit += [
        ("missing_field", b'{"id": 1, "value": 600}'),
        ("missing_field", record(alert={"condition": "below", "threshold": 1})),
        ("wrong_type", record(alert=BELOW | {"threshold": 6.5})),
        ("invalid_value", record(alert=BELOW | {"condition": "under"})),
        ("invalid_value", record("TOUCHED")),
        ("out_of_range", record(version=2**63)),
    ]

    with working(dsn, amqp_url):
        publish(amqp_url, *(body for _, body in unfit), record())
        eventually(lambda: alerts(conn) == {"A": 1000})

    assert dead_letters(conn) == [("alerts", why) for why, _ in unfit]
    kept = conn.execute("SELECT body FROM dead_letter ORDER BY id").fetchall()
    assert [body for (body,) in kept] == [body for _, body in unfit]
    assert alert_records.left_in_queue(amqp_url) == 0


def test_an_unfit_one_that_is_delivered_again_is_one_dead_letter(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    with working(dsn, amqp_url):
        publish(amqp_url, b"no", b"no", b"no", b"no", ids=["x", "x", None, None])
        publish(amqp_url, record())
        eventually(lambda: alerts(conn))

    assert dead_letters(conn) == [("alerts", "not_json")] * 2


def test_a_dead_letter_of_another_queue_that_looks_alike_takes_nothing_away(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    conn.execute(
        "INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)"
        " VALUES ('x', 'not_json', '', 'incoming_transactions', 'no', '{}', 'open')"
    )
    with working(dsn, amqp_url):
        publish(amqp_url, b"no", b"no", record(), ids=["x", "x", None])
        eventually(lambda: alerts(conn))

    assert [queue for queue, _ in dead_letters(conn)] == ["incoming_transactions", "alerts"]
