"""A thread that handles the messages of one queue, in order.

Some messages are one Postgres transaction, acknowledged after its commit: what is delivered again
is handled again, so each kind of message says itself what makes that harmless. An unfit one
becomes a dead letter in the same commit.
"""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import prometheus_client
import psycopg
import structlog

from shared import dead_letter_store, postgres, retry, worker
from shared.amqp.channel import ORDERED
from shared.amqp.consumer import Consumer
from shared.amqp.properties import Properties
from shared.errors import Unavailable
from shared.health import NOT_CONNECTED, Health
from shared.limited_connection import meanwhile
from shared.unfit import Unfit

PREFETCH = 20
"""Messages in one commit, at most: each may have 16 MiB before it is found to be too large."""
POLL_S = 0.5
LAST_POLL_S = 0.05
STUCK_S = 15.0
"""A queue whose messages are not looked at for so long makes the service unhealthy."""

Outcome = Literal["applied", "ignored"]
"""What a fit message led to. *Ignored*: what it says is known, or something newer is."""
Handle = Callable[[psycopg.Connection, bytes], Outcome]
"""Handles the body of one message in its caller's transaction. Raises `Unfit`."""

MESSAGES = prometheus_client.Counter(
    "minutebook_queue_messages_total",
    "Messages of queues that hold no transactions, by what they led to.",
    ["queue", "outcome"],
)

log = structlog.get_logger()


@dataclass(frozen=True)
class Connectors:
    """How the two servers are reached, for one life of the worker."""

    to_postgres: Callable[..., AbstractContextManager[psycopg.Connection]]
    to_rabbitmq: Callable[..., AbstractContextManager[Consumer]]


class QueueWorker:
    """One queue, over one pair of connections after another."""

    def __init__(
        self,
        queue: str,
        handle: Handle,
        connectors: Connectors,
        health: Health,
        stop: threading.Event,
    ) -> None:
        """The queue's name is the thread's, too, and its part in `health`."""
        self.queue = queue
        self._handle = handle
        self._connectors = connectors
        self._health = health
        self._stop = stop
        self._received: list[tuple[int, Properties, bytes]] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread while inside; on the way out it finishes what it has received."""
        self._health.problem(self.queue, NOT_CONNECTED)
        self._health.expect(self.queue, within_s=STUCK_S)
        with worker.running(self.queue, self.live, self._stop, self._health):
            yield

    def live(self) -> None:
        """Consume until `stop`, or until a server is lost."""
        turn = self._health.turning(self.queue)
        self._received = []  # what an older connection delivered comes again
        with (
            self._health.reporting(self.queue),
            self._connectors.to_postgres(turn=turn) as conn,
            self._connectors.to_rabbitmq(turn=turn) as broker,
        ):
            meanwhile(conn, partial(broker.poll, 0.0))
            postgres.check_schema(conn)
            state = broker.declare(self.queue, ORDERED)
            broker.consume(self.queue, prefetch=PREFETCH, on_message=self._on_message)
            log.info("consuming", queue=self.queue, messages=state.messages,
                     consumers=state.consumers)  # fmt: skip
            self._consume(conn, broker)

    def _consume(self, conn: psycopg.Connection, broker: Consumer) -> None:
        worked = False
        try:
            while not self._stop.is_set():
                worked = self._run_once(conn, broker) or worked
            broker.poll(LAST_POLL_S)  # sends the last acknowledgement
        except Unavailable as error:
            if not worked:
                raise  # what fails again and again is tried again ever less often
            self._health.problem(self.queue, str(error))
            retry.report_lost(error)

    def _run_once(self, conn: psycopg.Connection, broker: Consumer) -> bool:
        """Wait a little for messages; commit what came, then acknowledge it. Says if any came."""
        broker.poll(0.0 if self._received else POLL_S)
        received, self._received = self._received, []
        if received:
            began = time.monotonic()
            with postgres.translating(), conn.transaction():
                outcomes = Counter(self._handled(conn, *one[1:]) for one in received)
            self._report(outcomes, time.monotonic() - began)
            broker.ack(received[-1][0], multiple=True)
        self._health.progress(self.queue)
        return bool(received)

    def _handled(self, conn: psycopg.Connection, properties: Properties, body: bytes) -> str:
        """Handle one message, or write it down as a dead letter."""
        try:
            with conn.transaction():  # what an unfit one has changed by then is taken back
                return self._handle(conn, body)
        except Unfit as unfit:
            dead_letter_store.insert(conn, self.queue, properties, body, unfit)
            return "unfit"

    def _report(self, outcomes: Counter[str], took_s: float) -> None:
        for outcome, number in outcomes.items():
            MESSAGES.labels(self.queue, outcome).inc(number)
        log.info("queue_messages", queue=self.queue, duration_ms=round(took_s * 1000, 1),
                 **outcomes)  # fmt: skip

    def _on_message(
        self,
        tag: int,
        _redelivered: bool,  # noqa: FBT001 - the order in which a delivery has them
        properties: Properties,
        body: bytes,
    ) -> None:
        self._received.append((tag, properties, body))
