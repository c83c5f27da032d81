"""An observer as a process, what it is sent, and what it says of objects."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pika
import psycopg
import redis
from pika.adapters.blocking_connection import BlockingChannel

QUEUE = "sightings"
RETRIES = tuple(f"sightings.retry.{delay_ms}" for delay_ms in (1000, 2000, 4000, 8000, 16_000))
PREFIX = "minutebook:last_seen:"
SELECT_SEEN = "SELECT object_id, seen_at FROM last_seen"
SELECT_DEAD_LETTERS = (
    "SELECT reason, count(*) FROM dead_letter WHERE queue = 'sightings' GROUP BY 1"
)

Environment = dict[str, str]


@dataclass
class Sender:
    """Publishes sightings, and looks at the queues."""

    channel: BlockingChannel

    def declare(self) -> None:
        self.channel.confirm_delivery()
        self.channel.queue_declare(QUEUE, durable=True)

    def send(self, objects: Iterable[int], message_id: str | None = None) -> None:
        for one in objects:
            self.send_body(json.dumps({"object_id": one}).encode(), message_id)

    def send_body(self, body: bytes, message_id: str | None = None) -> None:
        properties = pika.BasicProperties(delivery_mode=2, message_id=message_id)
        self.channel.basic_publish("", QUEUE, body, properties)

    def ready(self, *queues: str) -> int:
        """Return how many messages wait in these queues, without a name in that of sightings."""
        found = [self.channel.queue_declare(one, passive=True) for one in queues or (QUEUE,)]
        return sum(one.method.message_count for one in found)


def seen(conn: psycopg.Connection) -> dict[int, datetime]:
    """Return which objects are in Postgres, and when they were seen."""
    return dict(conn.execute(SELECT_SEEN).fetchall())


def dead_letters(conn: psycopg.Connection) -> dict[str, int]:
    """Return how many dead letters there are, by reason."""
    return dict(conn.execute(SELECT_DEAD_LETTERS).fetchall())


def shown(store: "redis.Redis") -> dict[int, Any]:
    """Return which objects KeyDB shows, and what it says of them."""
    keys = [str(one) for one in store.scan_iter(f"{PREFIX}*")]
    return {int(one.removeprefix(PREFIX)): store.get(one) for one in keys}


def shown_age_s(store: "redis.Redis", object_id: int) -> float:
    """Return how old what KeyDB shows of an object is, by its own clock; 0 if it shows nothing."""
    both = store.pipeline(transaction=True)
    both.time()
    both.get(f"{PREFIX}{object_id}")
    (seconds, microseconds), said = both.execute()
    if said is None:
        return 0.0
    return float(seconds + microseconds / 1e6 - datetime.fromisoformat(said).timestamp())
