"""A connection to RabbitMQ: closed whatever others ask of it, alive while its thread waits."""

from functools import partial

import pytest
from pydantic import Secret

from shared import postgres
from shared.amqp import connection
from shared.amqp.consumer import Consumer
from shared.errors import Unavailable
from shared.health import unwatched
from shared.limited_connection import meanwhile
from shared.settings import PostgresSettings, RabbitmqSettings
from tests.support import messages
from tests.support.eventually import eventually

HEARTBEAT_S = 2
SLOW = "SELECT 7 FROM pg_sleep(7)"
"""Takes longer than a broker waits for a sign of life: two heartbeats, and half of one more."""


def test_an_acknowledgement_that_comes_too_late_does_not_keep_the_connection_open(
    amqp_url: str,
) -> None:
    messages.publish(amqp_url, b"one")
    tags: list[int] = []
    settings = RabbitmqSettings(rabbitmq_url=Secret(amqp_url))
    with Consumer.connected(settings, name="test") as consumer:
        consumer.consume(messages.QUEUE, prefetch=1, on_message=lambda tag, *_: tags.append(tag))
        while not tags:
            consumer.poll(0.1)
        consumer.from_thread(lambda: consumer.ack(tags[0]))
    eventually(lambda: messages.waiting_in_queue(amqp_url) == 1)


def test_a_connection_stays_alive_while_its_thread_waits_for_a_slow_answer_of_postgres(
    dsn: str, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEARTBEAT_S", HEARTBEAT_S)
    bodies: list[bytes] = []
    settings = RabbitmqSettings(rabbitmq_url=Secret(amqp_url))
    given = PostgresSettings(postgres_dsn=Secret(dsn))
    with (
        postgres.connection(given, application="test", turn=unwatched) as conn,
        Consumer.connected(settings, name="test") as one,
        Consumer.connected(settings, name="test") as other,
    ):
        one.declare(messages.QUEUE)
        one.consume(messages.QUEUE, prefetch=1, on_message=lambda *came: bodies.append(came[-1]))
        meanwhile(conn, partial(other.poll, 0.0), partial(one.poll, 0.0))
        messages.publish(amqp_url, b"came meanwhile")
        assert postgres.scalar(conn, SLOW) == "7"
        assert bodies == [b"came meanwhile"]
        one.poll(0.1)
        other.poll(0.1)
        other.close()  # whose loss ends no other wait
        assert postgres.scalar(conn, SLOW) == "7"
        one.poll(0.1)
        with pytest.raises(Unavailable, match="closed"):
            other.poll(0.1)
