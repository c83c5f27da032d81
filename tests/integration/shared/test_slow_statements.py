"""Services beside the core answer the broker while a statement takes long, else it is lost."""

import threading
from collections.abc import Callable
from functools import partial
from typing import cast

import psycopg
import pytest
from pydantic import Secret

from services.notifier.service import Notifier
from services.tracker.service import Tracker
from shared import limited_connection, postgres
from shared.amqp.consumer import Consumer
from shared.amqp.topic import TopicPublisher
from shared.health import Health, unwatched
from shared.queue_worker import Connectors, Outcome, QueueWorker
from shared.settings import PostgresSettings, RabbitmqSettings
from tests.support import messages
from tests.support.eventually import eventually

QUEUE = "records"
SLOW = "SELECT pg_sleep(0.5)"
Make = Callable[[psycopg.Connection, "Polled"], object]


class Polled:
    """A connection to the broker on which nothing ever comes."""

    polls = 0

    def poll(self, _timeout_s: float) -> None:
        """Note that it was looked at."""
        self.polls += 1


class PolledConsumer(Consumer):
    """A connection that notes when it is looked at."""

    polls = 0

    def poll(self, timeout_s: float, on_piece: Callable[[], bool] | None = None) -> None:
        """As every connection does."""
        PolledConsumer.polls += 1
        super().poll(timeout_s, on_piece)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limited_connection, "SLICE_S", 0.05)


def notifier(conn: psycopg.Connection, publisher: Polled) -> object:
    return Notifier(conn, cast("TopicPublisher", publisher), threading.Event(), 30)


def tracker(conn: psycopg.Connection, publisher: Polled) -> object:
    return Tracker(conn, cast("TopicPublisher", publisher), threading.Event(), 30)


@pytest.mark.parametrize("make", [notifier, tracker])
def test_a_follower_answers_the_broker_while_a_statement_takes_long(make: Make, dsn: str) -> None:
    publisher, given = Polled(), PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(given, application="test", turn=unwatched) as conn:
        make(conn, publisher)
        conn.execute(SLOW)
    assert publisher.polls > 1


def test_who_acts_upon_a_queue_answers_the_broker_while_a_message_takes_long(
    dsn: str, amqp_url: str
) -> None:
    polls: list[int] = []

    def handle(conn: psycopg.Connection, _body: bytes) -> Outcome:
        before = PolledConsumer.polls
        conn.execute(SLOW)
        polls.append(PolledConsumer.polls - before)
        return "applied"

    to_postgres, to_rabbitmq = (
        PostgresSettings(postgres_dsn=Secret(dsn)),
        RabbitmqSettings(rabbitmq_url=Secret(amqp_url)),
    )
    connectors = Connectors(
        partial(postgres.connection, to_postgres, application="test"),
        partial(PolledConsumer.connected, to_rabbitmq, name="test"),
    )
    with QueueWorker(QUEUE, handle, connectors, Health(), threading.Event()).running():
        with messages.channel(amqp_url) as producer:
            producer.confirm_delivery()
            arguments = {"x-single-active-consumer": True}
            producer.queue_declare(QUEUE, durable=True, arguments=arguments)
            producer.basic_publish("", QUEUE, b"")
        eventually(lambda: polls)
    assert polls[0] > 1
