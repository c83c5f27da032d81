"""A tracker in the test's own process, and those beside it: who sends requests, ingest, ticks."""

import contextlib
import json
import math
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pika
import psycopg
from pika.adapters.blocking_connection import BlockingChannel
from pydantic import Secret

from adoption import checks
from services.tracker import __main__ as program
from services.tracker.acceptance import Acceptance, Connected, Delivery
from services.tracker.intake import Intake
from services.tracker.service import Limits, Tracker
from shared import postgres
from shared.amqp.properties import Properties
from shared.amqp.publisher import Publisher
from shared.amqp.topic import TopicPublisher
from shared.follower import Follower, Turn
from shared.health import Health
from shared.ledger import request as ledger
from shared.request_message import QUEUE
from shared.settings import PostgresSettings, RabbitmqSettings
from tests.support import messages
from tests.support.eventually import eventually

ITEMS, REPLIES = messages.QUEUE, "replies.test"
USUAL = Limits(rest=0, all_every_s=math.inf)
TICK = """
INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount, published_at)
SELECT max(epoch) + 1, gen_random_uuid()::text,
       date_trunc('minute', now()) + make_interval(mins => max(epoch)::integer + 1),
       pg_current_snapshot(), (SELECT system_identifier FROM pg_control_system()), 0, 0,
       CASE WHEN %(shown)s THEN clock_timestamp() END
  FROM tick
RETURNING epoch, boundary
"""
SHOW = "UPDATE tick SET published_at = clock_timestamp() WHERE published_at IS NULL AND epoch > 0"


def body(*items: object, key: str = "K", by: str = "me", **more: object) -> bytes:
    """Return a request as its sender writes it; `more` are other fields."""
    fields = {"request": key, "by": by} | ({"items": items} if items else {}) | more
    return json.dumps(fields).encode()


def item(value: int, provider: object = 1, **more: object) -> dict[str, object]:
    return {"id": provider, "value": value, **more}


def tick(conn: psycopg.Connection, *, shown: bool = True) -> Any:
    """Write a due tick of all that is committed, shown by KeyDB at once; return its boundary."""
    ((_, boundary),) = conn.execute(TICK, {"shown": shown}).fetchall()
    return boundary


class Life:
    """A tracker as its process has it, without the lock of the active one: two can be at work."""

    def __init__(
        self,
        conn: psycopg.Connection,
        relay: Publisher,
        replies: TopicPublisher,
        limits: Limits = USUAL,
    ) -> None:
        self.conn, self.relay, self.replies = conn, relay, replies
        self.stop = threading.Event()
        self.follower = Follower("tracker", Health(), self.stop, writes=True)
        self.acceptance = Acceptance(Connected(conn, relay, replies), ITEMS, self.stop)
        self.tracker = Tracker(conn, replies, self.stop, 30, limits)
        self._received: list[tuple[int, Delivery]] = []
        relay.declare(ITEMS)
        relay.declare(QUEUE)
        replies.open_queues()
        relay.confirm_all(self.stop)
        relay.consume(QUEUE, prefetch=50, on_message=self._on_message)

    def accept(self, count: int = 1) -> Counter[str]:
        """Handle so many messages of the queue together, and acknowledge them."""

        def have_come() -> bool:
            self.relay.poll(0.05)
            return len(self._received) >= count

        eventually(have_come)
        received, self._received = self._received, []
        outcomes = self.acceptance.handle([delivery for _, delivery in received])
        self.relay.ack(received[-1][0], multiple=True)
        self.relay.poll(0.05)
        return outcomes

    def look(self) -> Turn:
        """Look for a tick, follow it, and do what is done between two."""
        turn = self.follower.run_once(self.conn, self.tracker)
        self.tracker.pause(0.001)
        return turn

    def run(self) -> None:
        """Follow all ticks, and reply."""
        while self.look() in ("followed", "anew"):
            pass

    def document(self, key: str = "K") -> ledger.Document:
        """Return what is known of a request."""
        found = ledger.document(self.conn, key)
        assert found
        return found

    def _on_message(
        self,
        tag: int,
        _redelivered: bool,  # noqa: FBT001
        properties: Properties,
        body: bytes,
    ) -> None:
        self._received.append((tag, Delivery(properties, body)))


@contextlib.contextmanager
def tracker_life(dsn: str, amqp_url: str, *, limits: Limits = USUAL) -> Iterator[Life]:
    """Open the connections of one life, with the rights of the tracker's login."""
    to_postgres = PostgresSettings(postgres_dsn=Secret(dsn))
    to_rabbitmq = RabbitmqSettings(rabbitmq_url=Secret(amqp_url))
    with (
        postgres.connection(to_postgres, application="test", options=program.OPTIONS) as conn,
        Publisher.connected(to_rabbitmq, name="test") as relay,
        TopicPublisher.connected(to_rabbitmq, name="test") as replies,
    ):
        conn.execute("SET ROLE minutebook_tracker")
        checks.check(conn, program.STATEMENTS)
        yield Life(conn, relay, replies, limits)


class Sender:
    """Who sends requests and waits for replies; and ingest, one message at a time."""

    def __init__(self, channel: BlockingChannel, ingest: psycopg.Connection) -> None:
        """Make all queues."""
        self.channel, self._ingest = channel, ingest
        channel.confirm_delivery()
        for queue in (QUEUE, ITEMS, REPLIES):
            channel.queue_declare(queue, durable=True)

    def send(
        self, body: bytes, *, reply_to: str | None = REPLIES, correlation_id: str | None = "c-1"
    ) -> None:
        """Send a request."""
        about = pika.BasicProperties(
            delivery_mode=2, reply_to=reply_to, correlation_id=correlation_id
        )
        self.channel.basic_publish("", QUEUE, body, about, mandatory=True)

    def items(self) -> list[tuple[str, bytes]]:
        """Take all items from the queue; return identity and body of each."""
        return [(str(about.message_id), found) for about, found in self._taken(ITEMS)]

    def ingest(self) -> list[tuple[str, bytes]]:
        """Store all items as ingest does, in one batch, and return them."""
        taken = self.items()
        self.store(*taken)
        return taken

    def store(self, *taken: tuple[str, bytes]) -> None:
        """Store these items as ingest does, in one batch."""
        batch = [
            messages.received(found, identity, tag=tag)
            for tag, (identity, found) in enumerate(taken, start=1)
        ]
        messages.store_batch(self._ingest, batch)

    def replies(self, queue: str = REPLIES) -> list[tuple[str | None, dict[str, Any]]]:
        """Take all replies; return correlation id and document of each."""
        return [(about.correlation_id, json.loads(found)) for about, found in self._taken(queue)]

    def _taken(self, queue: str) -> list[tuple[pika.BasicProperties, bytes]]:
        found = []
        while (got := self.channel.basic_get(queue, auto_ack=True))[0] is not None:
            found.append(got[1:])
        return found


@contextlib.contextmanager
def sending(dsn: str, amqp_url: str) -> Iterator[Sender]:
    """Open connections of its own."""
    with messages.channel(amqp_url) as channel, messages.ingest_connection(dsn) as ingest:
        yield Sender(channel, ingest)


@contextlib.contextmanager
def accepting(dsn: str, amqp_url: str, queue: str = QUEUE) -> Iterator[Health]:
    """Have the tracker's thread accept requests while inside; it consumes by then."""
    chosen = program.TrackerSettings(postgres_dsn=Secret(dsn), rabbitmq_url=Secret(amqp_url))
    stop, health = threading.Event(), Health()
    health.problem("start", "until the first progress")
    with Intake(ITEMS, program.connectors(chosen), health, stop, queue).running():
        eventually(lambda: not health.problems())
        yield health
