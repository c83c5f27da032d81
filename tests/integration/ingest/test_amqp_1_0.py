"""Messages of AMQP 1.0 clients become rows, or dead letters that say what is not taken.

Published here by AMQP 0-9-1, as RabbitMQ 4.0 was seen to convert what Qpid Proton sent.
"""

import pika
import psycopg

from tests.support import messages
from tests.support.eventually import eventually
from tests.support.messages import body, rows
from tests.support.ops_tool import deployment

DEAD_LETTERS = "SELECT reason, error FROM dead_letter ORDER BY id"
SECTION = "an AMQP 1.0 value section, where the JSON must be a data section"


def test_an_identity_is_honoured_or_refused_and_a_body_that_is_no_data_is_named(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.add_providers(conn)
    text = body(1, 600)
    with messages.ingest(dsn, amqp_url) as ingest:
        messages.consuming(ingest)
        for _ in range(2):
            publish(amqp_url, text, headers={"x-message-id": b"\x01\xff"})
            publish(amqp_url, text, headers={"x-message-id": "m" * 300})
            publish(amqp_url, text, message_id="urn:uuid:00000000-0000-0000-0000-000000000005")
            publish(amqp_url, b"\0Sw\xa1%c" % len(text) + text, message_id="t", type="amqp-1.0")
        eventually(lambda: len(conn.execute(DEAD_LETTERS).fetchall()) == 5)
        messages.queue_drained(ingest, amqp_url)
    assert rows(conn) == [(1, 600)]
    refused = [
        ("bad_identity", "the message-id (of AMQP 1.0) is bytes, not text in UTF-8"),
        ("bad_identity", "the identity has 300 bytes, above 255"),
    ]
    dead_letters = conn.execute(DEAD_LETTERS).fetchall()
    assert dead_letters == [*refused, ("not_utf8", f"byte 3 is not UTF-8: {SECTION}"), *refused]
    # A person who replays them means each to count.
    deployment(dsn).json("dead-letters", "replay", "--reason", "bad_identity")
    assert rows(conn) == [(1, 600)] * 5


def publish(amqp_url: str, text: bytes, **properties: object) -> None:
    with messages.channel(amqp_url) as producer:
        given = pika.BasicProperties(delivery_mode=2, **properties)  # type: ignore[arg-type]
        producer.basic_publish("", messages.QUEUE, text, given)
