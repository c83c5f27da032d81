"""What the followers published, as their consumers have it: events, notifications, replies.

One process of its own reads a queue of each kind during the whole run, through all outages of the
broker. What it has at each `tick.closed`, and each notification, is held against Postgres at the
end (`followed_verdict.py`), and so are replies to requests (`request_verdict.py`).
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.synchronize import Event
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from shared.errors import Unavailable
from tests.faults import addresses
from tests.faults.difference import Difference
from tests.faults.request_mixture import REPLIES
from tests.support.changes_consumer import Consumer
from tests.support.stack import Stack

QUEUES = {"changes": "changes.faults", "notifications": "notifications.faults"}
PREFETCH = 500
AGAIN_S = 0.2
QUIET_S = 1.0
"""The end: nothing has come for so long, over connections that work."""

Take = Callable[[Any, pika.BasicProperties], None]
"""Takes the document and the properties of a message."""


@dataclass(frozen=True)
class Closed:
    """A tick that the consumer of events has closed, and what it had then; monotonic seconds."""

    event: dict[str, Any]
    shown: dict[str, int]
    """Balances by key, as `balance.*` say."""
    sums: dict[int, int]
    """The same by provider, as the amounts of changes add up."""
    at_s: float


@dataclass
class Followed:
    """All that came."""

    closed: list[Closed] = field(default_factory=list)
    notifications: dict[str, dict[str, Any]] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    """How often each notification came."""
    replies: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By correlation id."""
    events: int = 0
    connections: int = 0
    differences: list[Difference] = field(default_factory=list)

    def describe(self) -> str:
        """Return it in one line."""
        anew = sum(one.event["anew"] for one in self.closed)
        again = sum(count > 1 for count in self.times.values())
        return (
            f"{self.events} events came over {self.connections} connections, {len(self.closed)}"
            f" ticks were closed, {anew} of them anew; {len(self.notifications)} notifications,"
            f" {again} of them more than once; {sum(map(len, self.replies.values()))} replies to"
            f" {len(self.replies)} correlation ids"
        )


class Consumers:
    """Reads all queues over one connection after another."""

    def __init__(self, stack: Stack, stop: Event, bound: Event) -> None:
        """`bound` is set once all queues are there."""
        self._stack = stack
        self._stop = stop
        self._bound = bound
        self._consumer = Consumer()
        self._missed = False
        self._came_s = 0.0
        self.followed = Followed()

    def run(self) -> None:
        """Read until told to stop and nothing comes any more."""
        while not self._over():
            with contextlib.suppress(Unavailable, AMQPError, OSError):
                self._live()
            time.sleep(AGAIN_S)

    def _live(self) -> None:
        to = pika.URLParameters(addresses.amqp_url(self._stack))
        with pika.BlockingConnection(to) as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=PREFETCH)
            for exchange, queue in QUEUES.items():
                channel.queue_declare(queue, durable=True)
                channel.queue_bind(queue, exchange, "#")
            channel.queue_declare(REPLIES, durable=True)
            self._begin(channel, QUEUES["changes"], self._take_event)
            self._begin(channel, QUEUES["notifications"], self._take_notification)
            self._begin(channel, REPLIES, self._take_reply)
            self._bound.set()
            self.followed.connections += 1
            self._came_s = time.monotonic()
            while not self._over():
                connection.process_data_events(AGAIN_S)

    def _begin(self, channel: BlockingChannel, queue: str, take: Take) -> None:
        def received(_: object, method: Any, about: pika.BasicProperties, body: bytes) -> None:
            self._came_s = time.monotonic()
            take(json.loads(body), about)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume(queue, received)

    def _take_event(self, event: dict[str, Any], _: object) -> None:
        self.followed.events += 1
        try:
            self._consumer.take(event)
        except AssertionError as error:
            text = f"a consumer of events: {str(error)[:500]}"
            self.followed.differences.append(Difference(text, time.monotonic()))
        # Before all was sent to it once, it cannot know of any tick what came before.
        missed = bool(self._consumer.closed) and self._consumer.missed()
        if missed and not self._missed:
            text = f"a consumer of events missed something before {event['id']}"
            self.followed.differences.append(Difference(text, time.monotonic()))
        self._missed = missed
        for closed in self._consumer.history[len(self.followed.closed) :]:
            self.followed.closed.append(Closed(*closed, time.monotonic()))

    def _take_notification(self, notification: dict[str, Any], _: object) -> None:
        self.followed.notifications[notification["id"]] = notification
        self.followed.times[notification["id"]] += 1

    def _take_reply(self, reply: dict[str, Any], about: pika.BasicProperties) -> None:
        self.followed.replies.setdefault(str(about.correlation_id), []).append(reply)

    def _over(self) -> bool:
        return self._stop.is_set() and 0 < self._came_s < time.monotonic() - QUIET_S


def consume(stack: Stack, stop: Event, ready: Event) -> Followed:
    """Consume until told to stop; returns all that came."""
    consumers = Consumers(stack, stop, ready)
    consumers.run()
    return consumers.followed
