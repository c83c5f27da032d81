"""Natural batching: one thread commits a batch while the other receives the next.

When the writer is free it takes whatever has come, up to a limit. At low load a message is
committed at once, alone; under load batches grow by themselves. There is no linger to tune, only a
pace that leaves room for others (`pace.py`).
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import psycopg
import structlog

from services.ingest import metrics, received, service, store, traced
from services.ingest.core import Judged
from services.ingest.pace import Pace
from services.ingest.pending import Pending
from services.ingest.portion import Portion
from shared import postgres, retry, tracing, worker
from shared.errors import Unavailable
from shared.health import Health

IDLE_S = 0.25
STUCK_S = 15.0
"""A batch in hand for longer than this makes ingest unhealthy."""

Connect = Callable[[], AbstractContextManager[psycopg.Connection]]

log = structlog.get_logger()


class Inbox(Protocol):
    """One channel: where deliveries come from and acknowledgements go to."""

    pending: Pending

    def settled(self, tag: int) -> None:
        """Acknowledge all deliveries up to `tag`. Called from the writer's thread."""


@dataclass(slots=True)
class InHand:
    """A batch from its taking to its acknowledgement; kept over lost connections to Postgres."""

    messages: list[Judged]
    inbox: Inbox
    oldest_at: float


class ChannelGone(Exception):
    """The broker will deliver the batch again, so it must not be committed now."""


class Writer:
    """The thread that commits. Its Postgres connection is its own."""

    def __init__(
        self,
        connect: Connect,
        intake: service.Intake,
        pace: Pace,
        health: Health,
        stop: threading.Event,
    ) -> None:
        """`connect` opens a connection for one life of the writer."""
        self.ready = threading.Event()
        """Set while there is a connection to Postgres."""
        self.ended = threading.Event()
        """Set when the thread has put away the batch it had in hand and is gone."""
        self._connect = connect
        self.intake = intake
        self.health = health
        self.stopping = stop
        self.inbox: Inbox | None = None
        self._served = threading.Event()
        self.in_hand: InHand | None = None
        self._pace = pace
        self._portion = Portion(intake.batch_max)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread while inside; on the way out it finishes the batch in hand."""
        self.health.expect("writer", within_s=STUCK_S)
        with worker.running("writer", self.live, self.stopping) as self.ended:
            yield

    def serve(self, inbox: Inbox) -> None:
        """From now on messages come from `inbox`; an older one's are the broker's again."""
        self.inbox = inbox
        self._served.set()

    def run_once(self, conn: psycopg.Connection) -> None:
        """Commit one batch if there is any, or as much of it as there is time for.

        Raises `Unavailable`; then the batch stays in hand and is tried again: identities make a
        second commit harmless.
        """
        if self.in_hand is None:
            self.in_hand = self._take()
        else:
            self._top_up(self.in_hand)
        if self.in_hand is not None:
            self._settle(conn, self.in_hand)
            if not self.in_hand.messages:
                self.in_hand = None
        self.health.progress("writer")

    def begin(self, conn: psycopg.Connection) -> None:
        """Make ready for one life of `conn`; a batch in hand from the last one is kept."""

    def store(self, conn: psycopg.Connection, messages: Sequence[Judged]) -> service.Outcome:
        """Commit a batch. Raises `Unavailable`."""
        return service.store_batch(conn, messages, self.intake, self._check_channel)

    def _take(self) -> InHand | None:
        inbox = self.inbox
        if inbox is None:
            self._served.clear()
            if self.inbox is None:
                self._served.wait(IDLE_S)
            return None
        if not inbox.pending.wait_for_any(IDLE_S):
            return None
        full = inbox.pending.waiting() >= self.intake.batch_max
        self.stopping.wait(self._pace.wait_s(full=full))
        messages, oldest_at = inbox.pending.take(self.intake.batch_max)
        return InHand(messages, inbox, oldest_at) if messages else None

    def _top_up(self, batch: InHand) -> None:
        # What is tried again goes with what has come since: beside others that go through, one
        # that Postgres will never take can be told from a Postgres that takes nothing.
        room = self.intake.batch_max - len(batch.messages)
        if room > 0:
            messages, _ = batch.inbox.pending.take(room)
            batch.messages += messages

    def _settle(self, conn: psycopg.Connection, batch: InHand) -> None:
        part = batch.messages[: self._portion.size]
        if batch.inbox.pending.open:  # otherwise the broker delivers it again
            started = time.monotonic()
            self._pace.begin()
            with contextlib.suppress(ChannelGone), self._portion.storing(len(part)):
                outcome = (self._trace if tracing.on() else self.store)(conn, part)
                ended = time.monotonic()
                batch.inbox.settled(part[-1].message.tag)
                metrics.stored(
                    outcome,
                    redelivered=sum(one.message.redelivered for one in part),
                    commit_s=ended - started,
                    latency_s=ended - batch.oldest_at,
                )
        batch.inbox.pending.finished(part)
        del batch.messages[: len(part)]

    def _trace(self, conn: psycopg.Connection, messages: Sequence[Judged]) -> service.Outcome:
        with tracing.span("store batch", {"messages": len(messages)}) as span:
            tracing.link(span, map(traced.traceparent, messages))
            return self.store(conn, messages)

    def _check_channel(self) -> None:
        # The last look before COMMIT, after whatever the statements waited for.
        if self.in_hand is not None and not self.in_hand.inbox.pending.open:
            raise ChannelGone

    def live(self) -> None:
        """Commit over one connection until it is lost or all is to stop."""
        with self.health.reporting("writer"), self._connect() as conn:
            postgres.check_schema(conn)
            self.intake.limits = store.column_limits(conn, self.intake.body_bytes_max)
            self.intake.rewritten = received.are_rewritten(conn)
            self.begin(conn)
            self.ready.set()
            try:
                while not self.stopping.is_set():
                    self.run_once(conn)
            except Unavailable as error:
                self.ready.clear()
                self.health.problem("writer", str(error))
                retry.lost(error)
