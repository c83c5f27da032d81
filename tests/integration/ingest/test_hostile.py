"""Hostile messages through a broker, a running ingest and Postgres: each is accounted for."""

import contextlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

import psycopg
import pytest
from pika.exceptions import AMQPError

from tests.support import hostile_messages, messages, raw_properties
from tests.support.eventually import eventually
from tests.support.messages import QUEUE, body, counted, truth
from tests.support.oracle import Account, Message
from tests.support.programs import Program

T = TypeVar("T")

MESSAGES = 10_000
LOCAL = "local:"
"""How the identities begin that ingest makes up."""
MALFORMED = 150
FAR_BEYOND_THE_LIMIT = [
    Message(start + b"x" * hostile_messages.MEGABYTES + end, raw_properties.properties(), None)
    for start, end in ((b"", b""), (b'{"id":1,"value":2,"n":"', b'"}'), (b"\xff", b""))
]
HUGE_HEADERS = [
    raw_properties.properties(entries=entries)
    for entries in (
        raw_properties.text_entry(b"h", b"\xff\0" * 60_000),
        raw_properties.text_entry(b"", b"") * 20_000,
        raw_properties.nested([b"F"] * 2_000),
        raw_properties.entry(b"n", b"A", raw_properties.sized(b"V" * 100_000)),
    )
]


@pytest.fixture(autouse=True)
def providers(conn: psycopg.Connection) -> None:
    with conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO initial_data VALUES (%s, %s, 0)",
            [(one, f"provider {one}") for one in hostile_messages.PROVIDERS],
        )


def publish(amqp_url: str, sent: Iterable[Message]) -> None:
    """Publish in this order; the broker has all of it afterwards."""
    with messages.channel(amqp_url) as producer:
        producer.queue_declare(QUEUE, durable=True)
        for one in sent:
            producer.basic_publish("", QUEUE, one.text, raw_properties.Encoded(one.encoded))


def stored(conn: psycopg.Connection, providers: Iterable[int]) -> Account:
    """Return what is in the database."""
    found = Account(tuple(providers))
    rows = conn.execute(
        "SELECT message_id, provider_id, transaction_value FROM historical_transactions"
    )
    dead_letters = conn.execute("SELECT message_id, reason, body FROM dead_letter")
    found.rows.update((_own(name), provider, value) for name, provider, value in rows)
    found.dead_letters.update((_own(name), reason, text) for name, reason, text in dead_letters)
    return found


def _own(identity: str) -> str | None:
    return None if identity.startswith(LOCAL) else identity


def undisturbed(program: Program, amqp_url: str) -> None:
    """Fail if it was ever restarted, lost a connection, or left anything in the queue."""
    assert program.logs().count('"event": "consuming"') == 1
    for server in ("rabbitmq", "postgres"):
        assert program.metric(f'minutebook_reconnects_total{{server="{server}"}}') == 0
    eventually(lambda: program.health()[0] == 200)
    messages.queue_drained(program, amqp_url)
    assert '"level": "error"' not in program.logs()


def test_ten_thousand_hostile_messages_are_each_accounted_for_and_disturb_nobody(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    sent = [*hostile_messages.Source(42).messages(MESSAGES), *FAR_BEYOND_THE_LIMIT]
    sent += [Message(b"[]", encoded, None) for encoded in HUGE_HEADERS]
    expected = Account(hostile_messages.PROVIDERS)
    for one in sent:
        expected.take(one)
    with messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)
        publish(amqp_url, sent)
        outcomes = len(sent) - expected.duplicates
        eventually(lambda: processed(program) == len(sent), 90)
        undisturbed(program, amqp_url)
    found = stored(conn, hostile_messages.PROVIDERS)
    assert differences(found.rows, expected.rows) == ([], [])
    assert differences(found.dead_letters, expected.dead_letters) == ([], [])
    assert expected.rows.total() > MESSAGES / 10
    assert outcomes > expected.dead_letters.total() > MESSAGES / 4
    assert counted(conn) == truth(conn)


def processed(program: Program) -> float:
    """Return how many messages it says it has processed."""
    return program.metric("minutebook_ingest_batch_messages_sum")


def differences(found: Counter[T], expected: Counter[T]) -> tuple[list[str], list[str]]:
    """Return what is there and should not be, and what is missing; some of it."""
    return (
        [repr(one)[:300] for one in list((found - expected).elements())[:5]],
        [repr(one)[:300] for one in list((expected - found).elements())[:5]],
    )


def test_malformed_properties_that_the_broker_takes_are_a_row_or_a_dead_letter_each(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)
        taken = [text for text, encoded in malformed() if accepted(amqp_url, text, encoded)]
        assert len(taken) > MALFORMED / 10, "the broker refuses nearly all: nothing is shown"
        eventually(lambda: processed(program) == len(taken), 30)
        undisturbed(program, amqp_url)
    rows = [body(provider, value) for provider, value in messages.rows(conn)]
    dead_letters = messages.dead_letters(conn)
    assert {reason for reason, _, _ in dead_letters} <= {"bad_identity"}
    assert sorted(rows + [text for _, _, text in dead_letters]) == sorted(taken)
    assert counted(conn) == truth(conn)


def malformed() -> Iterator[tuple[bytes, bytes]]:
    """Yield good bodies, no two alike, with properties in which some bytes are wrong."""
    chance = random.Random(7)
    for number, message in enumerate(hostile_messages.Source(7).messages(MALFORMED)):
        raw = bytearray(message.encoded)
        for _ in range(chance.randint(1, 3)):
            raw[chance.randrange(2, len(raw))] = chance.randrange(256)
        yield body(1, number), bytes(raw)


def accepted(amqp_url: str, text: bytes, encoded: bytes) -> bool:
    """Publish one; say whether the broker confirmed it."""
    with contextlib.suppress(AMQPError), messages.channel(amqp_url) as producer:
        producer.confirm_delivery()
        producer.basic_publish("", QUEUE, text, raw_properties.Encoded(encoded), mandatory=True)
        return True
    return False
