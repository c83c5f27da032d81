"""The writing thread: it commits a batch while the receiving thread takes in the next.

When it is free it stores whatever has come, up to a limit. At low load a message is committed at
once, alone; under load batches grow by themselves. There is no waiting for a batch to fill, only
pauses that leave room for others (`commit_pacing.py`).
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import LiteralString

import psycopg

from adoption import checks
from services.ingest import core, metrics, processed_messages, retrier, service, store
from services.ingest.backlog import Backlog, ChannelGone
from services.ingest.batch_size import AdaptiveBatchSize
from services.ingest.commit_pacing import CommitPacing
from services.ingest.core import Validated
from shared import column_limits, retry, tracing, worker
from shared.errors import TooMuch, Unavailable
from shared.health import Health
from shared.transactions import INSERT_ALL_OR_NONE, INSERT_TRANSACTIONS

PART = "writer"
"""What health calls this thread."""
IDLE_S = 0.25
STUCK_S = 15.0
"""A batch that takes longer than this makes ingest unhealthy."""
ALONE_MAX = 3
"""Failed attempts after which a message that was tried alone is deferred."""
PAUSE_FIRST_S, PAUSE_MAX_S = 1.0, 300.0
"""After the one statement failed for a batch, all are stored by a transaction for so long: twice as
long each time, until it succeeds again. Postgres logs an error at each failure."""
PAUSE_PER_FAILURE = 100
"""And for so many times as long as that failure took, at least: it costs 1 % at the most."""
STATEMENTS: tuple[LiteralString, ...] = (
    INSERT_TRANSACTIONS,
    INSERT_ALL_OR_NONE,
    store.SELECT_EXISTING,
    store.ADVANCE_SEQUENCE,
    processed_messages.NOTE,
    processed_messages.SELECT_PROCESSED,
)
"""What stores good messages, planned at each connection. Not what stores dead letters and releases
parked messages: good ones are stored without that, and what it lacks is reported where it fails."""
Connect = Callable[[], AbstractContextManager[psycopg.Connection]]


class Writer:
    """The thread that commits, over a connection of its own, and acknowledges what is committed."""

    by_one_statement = True
    """Whether the commit of an ordinary batch needs nothing besides its messages."""

    def __init__(
        self,
        connect: Connect,
        rules: service.IngestRules,
        pacing: CommitPacing,
        health: Health,
        stop: threading.Event,
    ) -> None:
        """`connect` opens a connection for one life of the writer."""
        self.ready = threading.Event()
        """Set while there is a connection to Postgres."""
        self.ended = threading.Event()
        """Set when the thread has ended, its last batch committed or given up."""
        self.connect = connect
        self.rules = rules
        self.health = health
        self.stopping = stop
        self.backlog: Backlog | None = None
        """The newest receiver's; messages of an older one are the broker's again."""
        self._pacing = pacing
        self._batch_size = AdaptiveBatchSize(rules.batch_max)
        self._in_trouble = False
        self._alone = ("", 0)  # the identity of the message tried alone last, and how often
        self._one_statement_from = 0.0
        self._pause_s = PAUSE_FIRST_S

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread while inside; on the way out it finishes its batch."""
        self.health.expect(PART, within_s=STUCK_S)
        with worker.running(PART, self.live, self.stopping, self.health) as self.ended:
            yield

    def live(self) -> None:
        """Commit over one connection until it is lost or all is to stop."""
        with self.health.reporting(PART), self.connect() as conn:
            self.prepare(conn)
            self.ready.set()
            try:
                while not self.stopping.is_set():
                    self.health.turn(PART)
                    self.run_once(conn)
            except Unavailable as error:
                self.ready.clear()
                self.health.problem(PART, str(error))
                retry.report_lost(error)

    def prepare(self, conn: psycopg.Connection) -> None:
        """Read again what may have changed since the last connection.

        Raises `Refusal`, and `Unavailable` while tables or rights do not allow to store.
        """
        checks.check(conn, STATEMENTS, stores=True)
        self.rules.limits = column_limits.read(conn, self.rules.limits)

    def run_once(self, conn: psycopg.Connection) -> None:
        """Store and acknowledge one batch if there is any, as large as there is time for.

        Raises `Unavailable` where Postgres is in trouble. The messages are then stored next time:
        identities make a second commit harmless.
        """
        backlog = self.backlog
        retrier.run_once(conn, backlog, self.rules, self.health)
        if backlog is None:
            self.stopping.wait(IDLE_S)
        elif count := backlog.wait_for_any(IDLE_S):
            self.stopping.wait(self._pacing.wait_s(full=count >= self.rules.batch_max))
            self._store_oldest(conn, backlog)
        self.health.progress(PART)

    def _store_oldest(self, conn: psycopg.Connection, backlog: Backlog) -> None:
        messages, oldest_at = backlog.oldest(self._batch_size.size)
        started_at = self._pacing.begin()
        try:
            backlog.check_open()
            with self._batch_size.storing(len(messages)), _span(messages):
                outcome = self.store(conn, backlog, messages)
        except ChannelGone:
            backlog.close()
            return
        except Unavailable as error:
            self._in_trouble = True
            if conn.closed:  # else Postgres said that nothing was committed
                messages = backlog.note_tried(messages)
            if not (isinstance(error, TooMuch) and self._is_hopeless(messages)):
                raise
            backlog.acknowledge(messages, kept=messages, reason=error.detail)
            return
        ended_at = time.monotonic()
        if self._in_trouble:  # it is over: perhaps Postgres takes what was deferred, too
            self._in_trouble = False
            backlog.deferred.try_soon()
        backlog.acknowledge(messages, outcome.deferred, outcome.reason)
        metrics.note_batch(outcome, commit_s=ended_at - started_at, latency_s=ended_at - oldest_at)

    def store(
        self, conn: psycopg.Connection, backlog: Backlog, messages: Sequence[Validated]
    ) -> service.Outcome:
        """Commit a batch. Raises `Unavailable`, and `ChannelGone` in place of a commit."""
        outcome = self._store_by_one_statement(conn, messages) if self.by_one_statement else None
        if outcome is not None:
            return outcome
        backlog.check_open()

        def complete(outcome: service.Outcome) -> None:
            backlog.check_open()
            self.before_commit(conn, messages, outcome)

        # While some dead letters cannot be written, others are not even tried.
        defer = backlog.deferred.has_dead_letters()
        return service.store_batch(conn, messages, self.rules, complete, defer_dead_letters=defer)

    def _store_by_one_statement(
        self, conn: psycopg.Connection, messages: Sequence[Validated]
    ) -> service.Outcome | None:
        """Commit an ordinary batch; None if it is none, or for a while after that failed."""
        started_at = time.monotonic()
        if started_at < self._one_statement_from or not core.is_ordinary(messages):
            return None
        try:
            outcome = service.store_ordinary_batch(conn, messages)
        except service.NotOrdinary:
            took_s = time.monotonic() - started_at
            self._one_statement_from = started_at + max(self._pause_s, PAUSE_PER_FAILURE * took_s)
            self._pause_s = min(2 * self._pause_s, PAUSE_MAX_S)
            return None
        self._pause_s = PAUSE_FIRST_S
        return outcome

    def before_commit(
        self, conn: psycopg.Connection, messages: Sequence[Validated], outcome: service.Outcome
    ) -> None:
        """Write what else belongs into the commit of a batch; its outcome is known."""

    def _is_hopeless(self, messages: Sequence[Validated]) -> bool:
        """Say whether it is one message, tried alone too often: it must not hold up others."""
        if len(messages) > 1:
            return False
        identity, (last, times) = messages[0].identity, self._alone
        self._alone = (identity, times + 1 if identity == last else 1)
        return self._alone[1] >= ALONE_MAX


@contextmanager
def _span(messages: Sequence[Validated]) -> Iterator[None]:
    """Trace what is done inside, with links to the spans that sent the messages."""
    with tracing.span("store batch", {"messages": len(messages)}) as span:
        if tracing.on():
            tracing.link(span, map(store.traceparent, messages))
        yield
