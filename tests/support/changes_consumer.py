"""A consumer of exchange `changes` that keeps to the rules, and what it must have at each tick.

It keeps a tick's events aside until their `tick.closed`, then applies `transaction.*` and
`provider.*` once by id. A tick that does not follow what it closed last waits for what was missed.
"""

import contextlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import pika
import psycopg
from pika.adapters.blocking_connection import BlockingChannel

from tests.support.ledger import balances

EXCHANGE = "changes"
COUNTED = {"transaction": "transactions", "provider": "providers", "balance": "balances"}
EXISTS = "SELECT count(*) FROM tick WHERE epoch = %s AND token = %s"

Event = dict[str, Any]


class Consumer:
    """All that it knows comes from events; `closed` are those of the ticks that it took, in order.

    Nothing before the first `balance.read` counts. `repeated` counts events that came once more.
    """

    def __init__(self) -> None:
        self.sums: dict[int, int] = {}
        """By provider, from READ on and then by amounts only."""
        self.shown: dict[str, int] = {}
        """By key, as `balance.*` say."""
        self.closed: list[Event] = []
        self.history: list[tuple[Event, dict[str, int], dict[int, int]]] = []
        self.repeated = 0
        self._aside: defaultdict[str, dict[str, Event]] = defaultdict(dict)
        self._early: dict[str, list[Event]] = {}
        """Whole ticks whose tick before was not closed here, by its id."""

    def missed(self) -> bool:
        """Say whether a tick came whose tick before did not: to be replayed, or read again."""
        return bool(self._early)

    def take(self, event: Event) -> None:
        """Take the next event of the queue. Fails where a tick is not whole."""
        group, _, name = event["id"].rpartition(":")
        if name != "tick":
            anew = event["operation"] == "READ"
            group = group if anew else event["id"].split(":")[0]
            if not anew and self._is_past(event):
                self.repeated += 1
                return
            self.repeated += event["id"] in self._aside[group]
            self._aside[group][event["id"]] = event
            return
        events = [*self._aside.pop(group, {}).values(), event]
        if self._knows(event) or (self._is_past(event) and not event["anew"]):
            self.repeated += 1
            return
        _check_whole(events)
        if event["anew"]:
            self._read(events)
        elif not self.closed or event["previous_id"] != self.closed[-1]["id"]:
            self._early[event["previous_id"]] = events
        else:
            self._apply(events)
        while self.closed and (following := self._early.pop(self.closed[-1]["id"], None)):
            self._apply(following)

    def _is_past(self, event: Event) -> bool:
        return bool(self.closed) and event["epoch"] <= self.closed[-1]["epoch"]

    def _knows(self, event: Event) -> bool:
        return any(one["id"] == event["id"] for one in self.closed)

    def _read(self, events: list[Event]) -> None:
        self.sums = {one["provider_id"]: int(one["balance"]) for one in events[:-1]}
        self.shown = {one["key"]: int(one["balance"]) for one in events[:-1] if one["key"]}
        self._early.clear()
        self._close(events[-1])

    def _apply(self, events: list[Event]) -> None:
        for one in events[:-1]:
            if one["event"].startswith("balance."):
                self._show(one)
            else:
                provider = one["provider_id"]
                self.sums[provider] = self.sums.get(provider, 0) + int(one["amount"])
        # Only now: two providers may have swapped their names.
        for one in events[:-1]:
            if one["event"].startswith("balance.") and one["key"]:
                self.shown[one["key"]] = int(one["balance"])
        self._close(events[-1])

    def _show(self, event: Event) -> None:
        if event["previous_key"]:
            was = self.shown.pop(event["previous_key"], None)
            assert was == int(event["previous"]), f"{event} follows {was}"

    def _close(self, event: Event) -> None:
        self.closed.append(event)
        self.history.append((event, dict(self.shown), dict(self.sums)))
        self._aside = defaultdict(
            dict,
            {
                group: events
                for group, events in self._aside.items()
                if any(one["epoch"] > event["epoch"] for one in events.values())
            },
        )

    def assert_right(self, conn: psycopg.Connection) -> None:
        """Fail unless at each tick closed that `conn` still knows it had that tick's balances."""
        for event, shown, sums in self.history:
            token = event["id"].split(":")[0]
            if conn.execute(EXISTS, [event["epoch"], token]).fetchone() != (1,):
                continue  # a failover lost it
            expected = {key: int(one) for key, one in balances(conn, event["epoch"]).items()}
            assert shown == expected, f"at {event}: balances say {shown}, Postgres {expected}"
            summed = {key: sums.get(int(key.partition("_")[0]), 0) for key in expected}
            assert summed == expected, f"at {event}: amounts say {summed}, Postgres {expected}"


def _check_whole(events: list[Event]) -> None:
    """Fail unless all that `tick.closed` counts has come, in the outbox's order where it is new."""
    closed = events[-1]
    seen = Counter(COUNTED[one["event"].partition(".")[0]] for one in events[:-1])
    counted = {name: closed[name] for name in COUNTED.values() if closed[name]}
    assert seen == counted, f"{closed} has {dict(seen)}"
    amounts = [int(one["amount"]) for one in events[:-1] if "amount" in one]
    if amounts:
        assert sum(amounts) == int(closed["amount"]), f"{closed} has {sum(amounts)}"
    for provider in {one["provider_id"] for one in events[:-1]}:
        ids = [_number(one) for one in events[:-1] if one["provider_id"] == provider]
        assert ids == sorted(ids), f"{closed}: events of {provider} are not in order: {ids}"


def _number(event: Event) -> tuple[bool, int]:
    """Return the place in a tick: changes in the order of the outbox, then balances."""
    return event["event"].startswith("balance."), int(event["id"].rpartition(":")[2])


class Queue:
    """A queue bound to all events, and the consumer of what is in it."""

    def __init__(self, channel: BlockingChannel, name: str, consumer: Consumer) -> None:
        """`bind` makes it."""
        self.name = name
        self.consumer = consumer
        self.events: list[tuple[pika.spec.Basic.GetOk, pika.BasicProperties, Event]] = []
        """All that came, repetitions included."""
        self._channel = channel

    def bind(self) -> None:
        """Make queue, exchange and binding unless they are there."""
        self._channel.exchange_declare(EXCHANGE, "topic", durable=True)
        self._channel.queue_declare(self.name, durable=True)
        self._channel.queue_bind(self.name, EXCHANGE, "#")

    def bind_refusing(self, name: str) -> None:
        """Bind another queue that takes one message and refuses all after it."""
        full = {"x-max-length": 1, "x-overflow": "reject-publish"}
        self._channel.queue_declare(name, durable=True, arguments=full)
        self._channel.queue_bind(name, EXCHANGE, "#")

    def delete(self, name: str) -> None:
        """Delete a queue."""
        self._channel.queue_delete(name)

    def delete_exchange(self) -> None:
        """Delete it, with all bindings."""
        self._channel.exchange_delete(EXCHANGE)

    def drain(self) -> Consumer:
        """Take all that is in the queue now."""
        while True:
            method, properties, body = self._channel.basic_get(self.name, auto_ack=True)
            if method is None or properties is None or body is None:
                return self.consumer
            event = json.loads(body)
            assert properties.message_id == event["id"]
            self.events.append((method, properties, event))
            self.consumer.take(event)

    def closed(self, epoch: int) -> bool:
        """Say whether the tick of this epoch, or a later one, is closed; takes what has come."""
        closed = self.drain().closed
        return bool(closed) and closed[-1]["epoch"] >= epoch


@contextlib.contextmanager
def bound(
    amqp_url: str, name: str = "changes.test", consumer: Consumer | None = None
) -> Iterator[Queue]:
    """Yield a queue bound to all events; `consumer` is one that had an earlier connection."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        queue = Queue(connection.channel(), name, consumer or Consumer())
        queue.bind()
        yield queue


def of_tick(queue: Queue, epoch: int) -> list[dict[str, Any]]:
    """Return the events of one tick that have come to a queue."""
    queue.drain()
    return [event for _, _, event in queue.events if event["epoch"] == epoch]
