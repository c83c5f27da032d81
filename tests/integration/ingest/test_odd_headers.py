"""A header that most clients cannot decode is a message like any other."""

import struct
from collections.abc import Iterator

import pika
import psycopg
import pytest
from pika import frame, spec
from pika.adapters.blocking_connection import BlockingChannel

from tests.support import programs
from tests.support.eventually import eventually
from tests.support.messages import consuming

QUEUE = "incoming_transactions"
YEAR_58858_MS = 1_795_227_590_005
GOOD = b'{"id": 1, "value": 1}'
COUNT = "SELECT count(*), count(DISTINCT message_id) FROM historical_transactions"


class TimestampInMilliseconds(pika.BasicProperties):
    """Properties as another language's client sends them: one header, a time in milliseconds."""

    def encode(self) -> list[bytes]:
        entry = b"\x04sent" + struct.pack(">cQ", b"T", YEAR_58858_MS)
        flags = struct.pack(">H", spec.BasicProperties.FLAG_HEADERS)
        return [flags, struct.pack(">I", len(entry)), entry]


@pytest.fixture
def channel(amqp_url: str) -> Iterator[BlockingChannel]:
    connection = pika.BlockingConnection(pika.URLParameters(amqp_url))
    channel = connection.channel()
    channel.confirm_delivery()
    channel.queue_declare(QUEUE, durable=True)
    yield channel
    connection.close()


def test_pika_cannot_decode_what_this_sends() -> None:
    encoded = frame.Header(1, 0, TimestampInMilliseconds()).marshal()
    with pytest.raises(ValueError, match="year 58858"):
        frame.decode_frame(encoded)


def test_it_becomes_a_row_or_a_dead_letter_like_those_beside_it(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 0)")
    for number in range(20):
        channel.basic_publish("", QUEUE, GOOD, pika.BasicProperties(message_id=f"good-{number}"))
        channel.basic_publish("", QUEUE, GOOD, TimestampInMilliseconds())
    channel.basic_publish("", QUEUE, b"[]", TimestampInMilliseconds())
    settings = {"POSTGRES_DSN": dsn, "RABBITMQ_URL": amqp_url}
    with programs.running("services.ingest", **settings) as ingest:
        eventually(lambda: conn.execute(COUNT).fetchone() == (40, 40))
        found = conn.execute("SELECT reason, properties -> 'headers' FROM dead_letter").fetchall()
        assert found == [("not_object", {"sent": YEAR_58858_MS})]
        consuming(ingest)
        assert ingest.logs().count('"event": "consuming"') == 1, "it never lost its connection"
        assert ingest.stop() == 0
    assert channel.queue_declare(QUEUE, passive=True).method.message_count == 0
