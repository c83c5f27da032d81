"""A notifier in the test's own process, one life of it at a time, and who listens to it."""

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any, cast

import pika
import psycopg
from pydantic import Secret

from services.notifier import judge_store
from services.notifier.service import EXCHANGE, Limits, Notifier
from shared import alert_store, follower_store, postgres
from shared.alert import Alert, Condition
from shared.amqp.topic import TopicPublisher
from shared.change_record import ChangeRecord
from shared.follower import Follower, Turn
from shared.health import Health
from shared.settings import PostgresSettings, RabbitmqSettings

SELECT_ID = "SELECT id FROM alert WHERE source = 'test' AND source_id = %s"
OPTIONS = f"{judge_store.OPTIONS} {follower_store.OPTIONS}"
USUAL = Limits()
QUEUE, FULL = "notifications.test", "notifications.full"


def add_alert(
    conn: psycopg.Connection,
    condition: str,
    threshold: int | None = None,
    *,
    for_s: int | None = None,
    provider: int | None = None,
    name: str | None = None,
) -> int:
    """Add an alert, or change the one of this name; returns its id."""
    named = name or f"{condition} of {provider}"
    asked = Alert(provider, cast("Condition", condition), threshold, for_s)
    alert_store.put(conn, ChangeRecord("ADDED", "test", named, None, {}), asked)
    ((number,),) = conn.execute(SELECT_ID, [named]).fetchall()
    return int(number)


class Life:
    """A notifier as its process has it, without the lock of the active one: two can be at work."""

    def __init__(
        self, conn: psycopg.Connection, publisher: TopicPublisher, kept_d: int, limits: Limits
    ) -> None:
        self.conn, self.publisher = conn, publisher
        self.stop = threading.Event()
        self.follower = Follower("notifier", Health(), self.stop, writes=True)
        self.notifier = Notifier(conn, publisher, self.stop, kept_d, limits)

    def look(self) -> Turn:
        """Look for a tick, and follow it."""
        return self.follower.run_once(self.conn, self.notifier)

    def run(self) -> None:
        """Follow all ticks and publish all, as between two ticks."""
        while self.look() in ("followed", "anew"):
            self.notifier.pause(0.0)
        self.notifier.pause(0.01)


@contextlib.contextmanager
def notifier_life(
    dsn: str, amqp_url: str, *, kept_d: int = 30, limits: Limits = USUAL
) -> Iterator[Life]:
    """Open the connections of one life."""
    to_postgres = PostgresSettings(postgres_dsn=Secret(dsn))
    to_rabbitmq = RabbitmqSettings(rabbitmq_url=Secret(amqp_url))
    with (
        postgres.connection(to_postgres, application="test", options=OPTIONS) as conn,
        TopicPublisher.connected(to_rabbitmq, name="test") as publisher,
    ):
        publisher.open_topic(EXCHANGE)
        yield Life(conn, publisher, kept_d, limits)


class Listener:
    """A consumer's queue of notifications, which may be bound or not."""

    def __init__(self, channel: Any) -> None:
        """Make exchange and queue, and bind it to all."""
        self._channel = channel
        self.received: dict[str, dict[str, Any]] = {}
        self.keys: set[str] = set()
        self.times = 0
        channel.exchange_declare(EXCHANGE, exchange_type="topic", durable=True)
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
        self.bind()

    def bind(self, key: str = "#") -> None:
        self._channel.queue_bind(QUEUE, EXCHANGE, key)

    def unbind(self, key: str = "#") -> None:
        self._channel.queue_unbind(QUEUE, EXCHANGE, key)

    @contextlib.contextmanager
    def full_queue(self) -> Iterator[None]:
        """Have another queue bound while inside, which is full and refuses."""
        arguments = {"x-queue-type": "classic", "x-max-length": 0, "x-overflow": "reject-publish"}
        self._channel.queue_declare(FULL, durable=True, arguments=arguments)
        self._channel.queue_bind(FULL, EXCHANGE, "#")
        try:
            yield
        finally:
            self._channel.queue_delete(FULL)

    def listen(self) -> dict[str, dict[str, Any]]:
        """Take what has come; return all bodies until now, by id. A repetition says the same."""
        while True:
            method, properties, body = self._channel.basic_get(QUEUE, auto_ack=True)
            if method is None:
                return self.received
            told = json.loads(body)
            assert (properties.message_id, properties.delivery_mode) == (told["id"], 2)
            assert method.routing_key == f"{told['condition']}.{told['provider_id']}"
            assert self.received.setdefault(told["id"], told) == told
            self.times += 1


@contextlib.contextmanager
def listening(amqp_url: str) -> Iterator[Listener]:
    """Open a connection of its own."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        yield Listener(connection.channel())
