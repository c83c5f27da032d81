"""An unfit message is a dead letter, byte for byte, and takes nothing good with it."""

from datetime import UTC, datetime
from decimal import Decimal

import pika
import psycopg
import pytest

from tests.support import messages
from tests.support.eventually import eventually
from tests.support.messages import QUEUE, body, counted, dead_letters, rows, truth
from tests.support.unfit_bodies import UNFIT_BODIES

pytestmark = pytest.mark.usefixtures("providers")

HEADERS = {
    "bytes": b"\xff\x00",
    "decimal": Decimal("-1.25"),
    "timestamp": datetime(2026, 11, 20, 23, 42, tzinfo=UTC),
    "table": {"deep": {"deeper": [1, {"x": None}]}},
    "array": [True, None, "a\0b", -(2**63)],
    "void": None,
    "negative": -(2**40),
    "small": -1,
    "text": "Grüße",
}
KEPT = {
    "bytes": {"$bytes": "/wA="},
    "decimal": {"$decimal": "-1.25"},
    "timestamp": {"$timestamp": "2026-11-20T23:42:00+00:00"},
    "table": {"deep": {"deeper": [1, {"x": None}]}},
    "array": [True, None, {"$hex": "610062"}, -(2**63)],
    "void": None,
    "negative": -(2**40),
    "small": -1,
    "text": "Grüße",
}
EVERYTHING = {
    "content_type": "text/plain",
    "content_encoding": "gzip",
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "c",
    "reply_to": "nobody",
    "expiration": "86400000",
    "message_id": "with everything",
    "timestamp": 1_795_218_120,
    "type": "t",
    "user_id": "user",
    "app_id": "a",
    "cluster_id": "k",
}


def properties(message_id: str | None = None) -> pika.BasicProperties:
    return pika.BasicProperties(message_id=message_id, delivery_mode=2)


def test_of_every_kind_of_unfit_message_each_is_a_dead_letter_and_the_good_beside_are_rows(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    everything = pika.BasicProperties(headers=HEADERS, **EVERYTHING)  # type: ignore[arg-type]
    sent = [
        *((reason, text, properties()) for reason, text in UNFIT_BODIES.items()),
        ("bad_identity", body(), properties("a\0b")),
        ("unknown_provider", body(99, 5), properties()),
        ("id_conflict", body(1, 601), properties("again")),
        ("not_json", b"", everything),
    ]
    with messages.channel(amqp_url) as producer:
        producer.queue_declare(QUEUE, durable=True)
        producer.basic_publish("", QUEUE, body(1, 600), properties("again"))
        for number, (_, text, given) in enumerate(sent):
            producer.basic_publish("", QUEUE, text, given)
            producer.basic_publish("", QUEUE, body(2, number), properties())
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: len(dead_letters(conn)) == len(sent))
        eventually(lambda: len(rows(conn)) == 1 + len(sent))
        for reason in (*UNFIT_BODIES, "bad_identity", "unknown_provider", "id_conflict"):
            count = sum(reason == one[0] for one in sent)
            name = f'minutebook_dead_letters_total{{reason="{reason}"}}'
            eventually(lambda name=name, least=count: program.metric(name) == least)  # type: ignore[misc]
        messages.queue_drained(program, amqp_url)
    assert rows(conn) == [(1, 600), *((2, number) for number in range(len(sent)))]
    assert sorted((reason, text) for reason, _, text in dead_letters(conn)) == sorted(
        (reason, text) for reason, text, _ in sent
    )
    states = {(reason, state) for reason, state, _ in dead_letters(conn)}
    assert {state for reason, state in states if reason != "unknown_provider"} == {"open"}
    assert ("unknown_provider", "waiting") in states
    assert counted(conn) == truth(conn)


def test_all_properties_of_a_dead_letter_are_kept_and_none_keeps_it_from_becoming_one(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.channel(amqp_url) as producer:
        producer.queue_declare(QUEUE, durable=True)
        given = pika.BasicProperties(headers=HEADERS, **EVERYTHING)  # type: ignore[arg-type]
        producer.basic_publish("", QUEUE, b"not json", given)
        producer.basic_publish("", QUEUE, body(), properties())
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: rows(conn) == [(1, 600)])
        messages.queue_drained(program, amqp_url)
    found = conn.execute("SELECT message_id, queue, properties FROM dead_letter").fetchall()
    assert found == [("with everything", QUEUE, EVERYTHING | {"headers": KEPT})]


def test_a_body_just_above_the_limit_is_too_large_and_one_at_the_limit_is_not(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.publish(amqp_url, body(1, 7).ljust(101), body(1, 8).ljust(100))
    with messages.ingest(dsn, amqp_url, INGEST_BODY_MAX_BYTES="100") as program:
        eventually(lambda: rows(conn) == [(1, 8)])
        messages.queue_drained(program, amqp_url)
    assert dead_letters(conn) == [("too_large", "open", body(1, 7).ljust(101))]


def test_a_body_of_many_megabytes_is_a_dead_letter_too(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    huge = b"\x00\xff" * (4 * 2**20)
    messages.publish(amqp_url, huge, huge + b"2", huge + b"3", body())
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: rows(conn) == [(1, 600)], 60)
        messages.queue_drained(program, amqp_url)
    sizes = conn.execute("SELECT reason, length(body) FROM dead_letter ORDER BY id").fetchall()
    assert sizes == [("too_large", len(huge)), *[("too_large", len(huge) + 1)] * 2]


def test_an_unfit_message_that_is_delivered_again_is_still_one_dead_letter(dsn: str) -> None:
    batch = [messages.received(b"{", "m1"), messages.received(b"{", None, tag=2)]
    with messages.ingest_connection(dsn) as conn:
        for _ in range(2):
            assert messages.store_batch(conn, batch).dead == {"not_json": 2}
        assert len(dead_letters(conn)) == 2


def test_another_unfit_body_under_the_same_identity_is_another_dead_letter(dsn: str) -> None:
    batch = [messages.received(text, "m1") for text in (b"{", b"[", b"{")]
    with messages.ingest_connection(dsn) as conn:
        assert messages.store_batch(conn, batch).dead == {"not_json": 3}
        assert [text for _, _, text in dead_letters(conn)] == [b"{", b"["]


def test_a_value_beyond_the_column_is_out_of_range_and_its_neighbours_are_rows(
    dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute("ALTER TABLE historical_transactions ALTER transaction_value TYPE integer")
    batch = [
        messages.received(body(1, value), tag=tag)
        for tag, value in enumerate((2**31 - 1, 2**31, -(2**31), -(2**31) - 1), 1)
    ]
    with messages.ingest_connection(dsn) as ours:
        outcome = messages.store_batch(ours, batch)
    assert (outcome.inserted, outcome.dead) == (2, {"out_of_range": 2})
    assert rows(conn) == [(1, 2**31 - 1), (1, -(2**31))]
