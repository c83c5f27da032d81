"""Messages, what becomes of them, and the service between: builders for tests of ingest."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pika
import psycopg
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from services.ingest import core, service, store
from services.ingest.backlog import Backlog
from services.ingest.commit_pacing import CommitPacing
from services.ingest.identity import KeptProperties
from services.ingest.parked import Releaser
from services.ingest.writer import Writer
from shared import column_limits
from shared.health import Health
from shared.shard import Shard
from shared.transaction_body import Limits
from tests.support import programs
from tests.support.eventually import eventually

QUEUE = "incoming_transactions"
BODY_MAX = 65536
PROVIDERS = ((1, "Visa", 1000), (2, "Mastercard", 2000))


class FakeProperties(KeptProperties):
    """The properties that decide anything."""

    def __init__(self, message_id: Any = None, headers: Any = None) -> None:
        super().__init__(headers, message_id)

    def all(self) -> dict[str, Any]:
        """Return those that are set."""
        every = {"message_id": self.message_id, "headers": self.headers}
        return {name: value for name, value in every.items() if value is not None}


class FakeChannel:
    """A channel without a broker: remembers what was acknowledged."""

    def __init__(self) -> None:
        self.backlog = Backlog(self._acknowledge)
        self.acknowledged: list[int] = []
        self.alone: list[int] = []

    def receive(self, *received: core.Validated) -> None:
        """Have messages come, all in one piece."""
        for message in received:
            self.backlog.add(message)
        self.backlog.announce()

    def _acknowledge(self, tags: Sequence[int], *, multiple: bool) -> None:
        (self.acknowledged if multiple else self.alone).extend(tags)


def body(provider_id: int = 1, value: int = 600) -> bytes:
    """Return a transaction as producers write it."""
    return json.dumps({"id": provider_id, "value": value}).encode()


def received(
    text: bytes,
    identity: object = None,
    *,
    tag: int = 1,
    headers: object = None,
    fallback_id: str = "",
) -> core.Delivery:
    """Return a delivery; without `identity` its fallback id is `fallback-<tag>`, as if random."""
    properties = FakeProperties(identity, headers)
    return core.Delivery(tag, False, properties, text, fallback_id or f"fallback-{tag}")  # noqa: FBT003


def validated(text: bytes, identity: object = None, *, tag: int = 1) -> core.Validated:
    """Return a delivery as the receiver hands it to the writer."""
    return core.validate(received(text, identity, tag=tag), Limits(BODY_MAX), "property")


def rules(
    conn: psycopg.Connection, *, source: str = "property", shard: Shard | None = None
) -> service.IngestRules:
    """Return what ingest would work by on this database."""
    limits = column_limits.read(conn, Limits(BODY_MAX, shard=shard))
    return service.IngestRules((shard or Shard()).name(QUEUE), source, 1000, limits)


def store_batch(
    conn: psycopg.Connection,
    batch: Sequence[core.Delivery],
    *,
    source: str = "property",
    shard: Shard | None = None,
) -> service.Outcome:
    """Store a batch as the writer does."""
    taken = rules(conn, source=source, shard=shard)
    validated = [core.validate(one, taken.limits, taken.identity_source) for one in batch]
    return service.store_batch(conn, validated, taken)


def release_parked(conn: psycopg.Connection) -> int:
    """Release all whose provider has come, as the releaser does; returns the rows that made."""
    unused = partial(pytest.fail, "the test brings its own connection")
    return Releaser(unused, rules(conn), Health(), threading.Event()).run_once(conn)


def idle_writer(
    conn: psycopg.Connection,
    channel: FakeChannel,
    clock: Callable[[], float] = time.time,
    stop: threading.Event | None = None,
) -> Writer:
    """Return the writer of a channel; the test is its thread, and calls `run_once`."""
    pacing = CommitPacing(60, clock)
    unused = partial(pytest.fail, "the test brings its own connection")
    writer = Writer(unused, rules(conn), pacing, Health(), stop or threading.Event())
    writer.backlog = channel.backlog
    return writer


@contextlib.contextmanager
def ingest_connection(dsn: str) -> Iterator[psycopg.Connection]:
    """Open a connection that says to the triggers that ingest writes its own outbox rows."""
    with psycopg.connect(dsn, autocommit=True, options=store.OPTIONS) as conn:
        yield conn


def add_providers(conn: psycopg.Connection) -> None:
    """Load the providers of the worked example."""
    with conn.cursor() as cursor:
        cursor.executemany("INSERT INTO initial_data VALUES (%s, %s, %s)", PROVIDERS)


@contextlib.contextmanager
def ingest(dsn: str, amqp_url: str, **environment: str) -> Iterator[programs.Program]:
    """Run the real service while inside."""
    settings = {"POSTGRES_DSN": dsn, "RABBITMQ_URL": amqp_url, **environment}
    with programs.running("services.ingest", **settings) as program:
        yield program


def consuming(program: programs.Program, times: int = 1) -> None:
    """Wait until the service has begun to consume for the `times`-th time."""
    eventually(lambda: program.logs().count('"event": "consuming"') >= times)


@contextlib.contextmanager
def channel(amqp_url: str) -> Iterator[BlockingChannel]:
    """Open a plain pika channel, as any producer has it."""
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        yield connection.channel()


def publish(
    amqp_url: str, *bodies: bytes, identities: Sequence[str] = (), confirmed: bool = False
) -> None:
    """Publish persistent messages after a plain durable declare.

    Closing the channel is answered after all that was sent on it, so the broker has it then; yet
    only what it has `confirmed` does it keep through a kill.
    """
    with channel(amqp_url) as producer:
        producer.queue_declare(QUEUE, durable=True)
        if confirmed:
            producer.confirm_delivery()
        for number, text in enumerate(bodies):
            identity = identities[number] if identities else None
            properties = pika.BasicProperties(delivery_mode=2, message_id=identity)
            producer.basic_publish("", QUEUE, text, properties)


def waiting_in_queue(amqp_url: str) -> int:
    """Return how many messages are in the queue and with no consumer."""
    with channel(amqp_url) as observer:
        return int(observer.queue_declare(QUEUE, passive=True).method.message_count)


def queue_drained(program: programs.Program, amqp_url: str) -> None:
    """Stop the service, which hands back what it did not acknowledge; fail if that is anything.

    What it has not been handed, and what it has not acknowledged, is waited for first.
    """
    eventually(lambda: waiting_in_queue(amqp_url) == 0)
    eventually(lambda: program.metric("minutebook_ingest_in_hand_messages") == 0)
    assert program.stop() == 0, program.logs()
    assert waiting_in_queue(amqp_url) == 0


def rows(conn: psycopg.Connection) -> list[tuple[int, int]]:
    """Return provider and value of all transactions, oldest first."""
    return conn.execute(
        "SELECT provider_id, transaction_value FROM historical_transactions ORDER BY id"
    ).fetchall()


def dead_letters(conn: psycopg.Connection) -> list[tuple[str, str, bytes]]:
    """Return reason, state and body of all dead letters, oldest first."""
    return conn.execute("SELECT reason, state, body FROM dead_letter ORDER BY id").fetchall()


def reasons(conn: psycopg.Connection) -> list[str]:
    """Return the reasons of all dead letters, oldest first."""
    return [reason for reason, _, _ in dead_letters(conn)]


def counted(conn: psycopg.Connection) -> dict[int, int]:
    """Return what readers will see: per provider its newest balance and the outbox since."""
    return _totals(
        conn,
        """
        SELECT provider_id, sum(amount)
          FROM (SELECT provider_id, balance AS amount FROM balance
                 UNION ALL
                SELECT provider_id, amount FROM outbox) AS entry
         GROUP BY provider_id
        """,
    )


def truth(conn: psycopg.Connection) -> dict[int, int]:
    """Return what they ought to see: per provider the initial value and all transactions."""
    return _totals(
        conn,
        """
        SELECT provider_id, sum(amount)
          FROM (SELECT id AS provider_id, initial_value AS amount FROM initial_data
                 UNION ALL
                SELECT provider_id, transaction_value FROM historical_transactions) AS entry
         WHERE provider_id IS NOT NULL
         GROUP BY provider_id
        """,
    )


def _totals(conn: psycopg.Connection, query: Any) -> dict[int, int]:
    # A provider that is gone has nothing left; one that never was is not there at all.
    return {provider: int(total or 0) for provider, total in conn.execute(query) if total}
