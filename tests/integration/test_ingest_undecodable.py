"""A message that the client library cannot decode must not take the good ones beside it along."""

import struct
from collections.abc import Iterator

import pika
import psycopg
import pytest
from pika import frame, spec
from pika.adapters.blocking_connection import BlockingChannel

from tests.support import programs
from tests.support.eventually import eventually

QUEUE = "incoming_transactions"
YEAR_58858_MS = 1_795_227_590_005


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


def test_what_it_takes_to_be_undecodable_is_what_this_sends() -> None:
    encoded = frame.Header(1, 0, TimestampInMilliseconds()).marshal()
    with pytest.raises(ValueError, match="year 58858"):
        frame.decode_frame(encoded)


def test_the_good_messages_before_it_are_stored_and_then_ingest_says_what_is_wrong(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 0)")
    for number in range(20):
        body = b'{"id": 1, "value": 1}'
        channel.basic_publish("", QUEUE, body, pika.BasicProperties(message_id=f"good-{number}"))
    channel.basic_publish("", QUEUE, b'{"id": 1, "value": 1}', TimestampInMilliseconds())
    channel.basic_publish("", QUEUE, b'{"id": 1, "value": 1}')
    settings = {"POSTGRES_DSN": dsn, "RABBITMQ_URL": amqp_url}
    with programs.running("services.ingest", **settings) as ingest:
        eventually(lambda: '"alone": true' in ingest.logs(), 20)
        count = "SELECT count(*), count(DISTINCT message_id) FROM historical_transactions"
        assert conn.execute(count).fetchone() == (20, 20)
        assert ingest.process.poll() is None
        assert ingest.health()[0] == 503
        assert "undecodable header" in ingest.health()[1]
        assert ingest.stop() == 0
    left = channel.queue_declare(QUEUE, passive=True).method.message_count
    assert left == 2, "the one that cannot be decoded, and the one behind it"


def test_once_it_is_taken_away_ingest_goes_on(
    dsn: str, amqp_url: str, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 0)")
    channel.basic_publish("", QUEUE, b'{"id": 1, "value": 1}', TimestampInMilliseconds())
    settings = {"POSTGRES_DSN": dsn, "RABBITMQ_URL": amqp_url}
    with programs.running("services.ingest", **settings) as ingest:
        eventually(lambda: '"alone": true' in ingest.logs(), 20)
    assert channel.queue_purge(QUEUE).method.message_count == 1
    channel.basic_publish("", QUEUE, b'{"id": 1, "value": 1}')
    with programs.running("services.ingest", **settings):
        eventually(
            lambda: conn.execute("SELECT count(*) FROM historical_transactions").fetchone() == (1,)
        )
