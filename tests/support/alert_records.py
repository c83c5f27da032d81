"""Change records of alerts and answers, the workers that act on them, and what is left behind."""

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pika
import psycopg
from pydantic import Secret

from services.notifier import intake, records
from shared import postgres
from shared.amqp.consumer import Consumer
from shared.health import Health
from shared.queue_worker import Connectors, QueueWorker
from shared.settings import PostgresSettings, RabbitmqSettings
from tests.support import messages
from tests.support.eventually import eventually

HISTORY_S = 30 * 86_400
HANDLERS = intake.handlers(HISTORY_S)
BELOW: dict[str, Any] = {"provider_id": 1, "condition": "below", "threshold": "1000"}
EACH: dict[str, Any] = BELOW | {"provider_id": None}
BUILDING_S = 20.0

# A body of each reason that a record alone can give.
UNFIT_RECORDS: dict[str, list[bytes]] = {
    "not_utf8": [b'{"operation": "ADDED", "source": "\xff"}'],
    "not_json": [b"", b"no", b'{"operation": NaN}', b"[" * 1000 + b"]" * 1000],
    "not_object": [b"[]", b"1", b'"ADDED"', b"null"],
    "duplicate_key": [b'{"operation": "ADDED", "operation": "REMOVED"}'],
    "too_large": [b'{"operation": "ADDED", "note": "%s"}' % (b"x" * 65_536)],
}


def record(operation: object = "ADDED", alert: object = BELOW, **more: object) -> bytes:
    """Return a record as a source of alerts writes it; `more` are other fields."""
    return written({"operation": operation, "source": "users", "alert": alert} | more)


def written(fields: dict[str, object]) -> bytes:
    """Return a record about what its source calls A, or otherwise; None leaves a field out."""
    fields = {"source_id": "A"} | fields
    return json.dumps({name: one for name, one in fields.items() if one is not None}).encode()


def apply(conn: psycopg.Connection, *bodies: bytes, queue: str = records.QUEUE) -> list[str]:
    """Act on records as a queue's worker does; returns what each led to."""
    outcomes: list[str] = []
    for body in bodies:
        with conn.transaction():
            outcomes.append(HANDLERS[queue](conn, body))
    return outcomes


@contextlib.contextmanager
def working(dsn: str, amqp_url: str, queue: str = records.QUEUE) -> Iterator[Health]:
    """Have a worker act on the messages of a queue while inside; it consumes by then."""
    connectors = Connectors(
        partial(
            postgres.connection, PostgresSettings(postgres_dsn=Secret(dsn)), application="records"
        ),
        partial(
            Consumer.connected,
            RabbitmqSettings(rabbitmq_url=Secret(amqp_url)),
            name="records",
        ),
    )
    stop, health = threading.Event(), Health()
    health.problem("start", "until the first progress")
    with QueueWorker(queue, HANDLERS[queue], connectors, health, stop).running():
        eventually(lambda: not health.problems(), BUILDING_S)
        yield health


def publish(
    amqp_url: str, *bodies: bytes, queue: str = records.QUEUE, ids: Sequence[str | None] = ()
) -> None:
    """Publish messages to a queue that is there, and wait until the broker has them."""
    with messages.channel(amqp_url) as producer:
        producer.confirm_delivery()
        for number, body in enumerate(bodies):
            about = pika.BasicProperties(delivery_mode=2, message_id=ids[number] if ids else None)
            producer.basic_publish("", queue, body, about, mandatory=True)


def left_in_queue(amqp_url: str, queue: str = records.QUEUE) -> int:
    """Return how many messages wait; with nobody consuming these are all not acknowledged."""
    with messages.channel(amqp_url) as observer:
        return int(observer.queue_declare(queue, passive=True).method.message_count)


def stored(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """Return name, version, what is asked for and whether it is active, of each alert."""
    return conn.execute(
        "SELECT source_id, version, provider_id, condition, threshold::int, for_seconds, active"
        "  FROM alert ORDER BY id"
    ).fetchall()


def alerts(conn: psycopg.Connection) -> dict[str, int | None]:
    """Return name and threshold of each active alert."""
    return {one[0]: one[4] for one in stored(conn) if one[6]}


def dead_letters(conn: psycopg.Connection) -> list[tuple[str, str]]:
    """Return queue and reason of each dead letter."""
    return conn.execute("SELECT queue, reason FROM dead_letter ORDER BY id").fetchall()


def add_notification(conn: psycopg.Connection, name: str, **columns: Any) -> None:
    """Write a notification as the notifier does; `columns` take the place of its values."""
    values = {"alert_id": 1, "provider_id": 1, "epoch": 1, "balance": 900, "previous": 1000}
    judged = {"condition": "below", "threshold": 1000}
    given = {"id": name} | values | judged | columns
    names = ", ".join(given)
    places = ", ".join(f"%({one})s" for one in given)
    conn.execute(f"INSERT INTO notification ({names}) VALUES ({places})", given)  # noqa: S608 - names are the tests' own
