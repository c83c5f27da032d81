"""Natural batching: one thread commits a batch while another receives the next.

When the writer is free it takes whatever has come, up to a limit. At low load a message is
committed at once, alone; under load batches grow by themselves. There is no linger to tune, only a
pace that leaves room for others (`commit_pacing.py`). A second writer takes a full batch where one
waits
while the first is at work (`helper.py`).
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import psycopg
import structlog

from adoption import checks
from services.ingest import metrics, rehearsal, service, store, traced
from services.ingest.batch_size import AdaptiveBatchSize
from services.ingest.commit_pacing import CommitPacing
from services.ingest.core import DeadLetter, Validated
from services.ingest.deferred import ALONE_MAX, Keeping, Letters
from services.ingest.inbox import ChannelGone, Inbox, InHand
from services.ingest.retrier import Retrier
from services.ingest.turns import NotYet
from shared import postgres, retry, tracing, worker
from shared.errors import TooMuch, Unavailable
from shared.health import Health

PART = "writer"
"""What health calls all that stores what is received."""
IDLE_S = 0.25
STUCK_S = 15.0
"""A batch in hand for longer than this makes ingest unhealthy."""
TURN_WAIT_S = 1.0
"""Seconds at most for each wait for a turn; within a transaction it holds locks others need."""
Connect = Callable[[], AbstractContextManager[psycopg.Connection]]

log = structlog.get_logger()


class Writer:
    """A thread that commits. Its Postgres connection is its own."""

    name = "writer"
    letters = Letters.MAY
    """Whether good rows are committed without a dead letter that cannot be written."""

    def __init__(
        self,
        connect: Connect,
        intake: service.Intake,
        pace: CommitPacing,
        health: Health,
        stop: threading.Event,
    ) -> None:
        """`connect` opens a connection for one life of the writer."""
        self.ready = threading.Event()
        """Set while there is a connection to Postgres."""
        self.ended = threading.Event()
        """Set when the thread has put away the batch it had in hand and is gone."""
        self.connect = connect
        self.intake = intake
        self.health = health
        self.stopping = stop
        self.inbox: Inbox | None = None
        self._served = threading.Event()
        self.in_hand: InHand | None = None
        self.pace = pace
        self._batch_size = AdaptiveBatchSize(intake.batch_max)
        self._retrier = Retrier(intake, health)
        self._took_s = 0.0
        self._alone = (0, 0)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the thread while inside; on the way out it finishes the batch in hand."""
        self.health.expect(PART, within_s=STUCK_S)
        with worker.running(self.name, self.live, self.stopping, self.health) as self.ended:
            yield

    def serve(self, inbox: Inbox) -> None:
        """From now on messages come from `inbox`; an older one's are the broker's again."""
        self.inbox = inbox
        self._served.set()

    def run_once(self, conn: psycopg.Connection) -> None:
        """Commit one batch if there is any, or as much of it as there is time for.

        If its turn does not come, or Postgres is in trouble, the batch is given back to be taken
        again: identities make a second commit harmless. Raises `Unavailable` in the second case.
        """
        self.retry_deferred(conn)
        self.in_hand = self.in_hand or self.take()
        if self.in_hand is None:
            self.idle()
            return
        try:
            self._settle(conn, self.in_hand)
        except NotYet as error:
            self.give_back(in_each_others_way=error.late)
        except Unavailable:
            self.give_back(in_each_others_way=not conn.closed)
            raise
        else:
            self.progress()
            if not self.in_hand.batch.messages:
                self.in_hand = None

    def retry_deferred(self, conn: psycopg.Connection) -> None:
        """Try again what could not be settled before, when it is time."""
        self._retrier.run_once(conn, self.inbox)

    def idle(self) -> None:
        """Report progress while idle, unless another writer is stuck with something."""
        if self.inbox is None or self.inbox.pending.turns.wait_for_none(0):
            self.progress()

    def progress(self) -> None:
        """Say that what is received is being stored."""
        self.health.progress(PART)

    def give_back(self, *, in_each_others_way: bool = False) -> None:
        """Have nothing in hand: what is left of the batch is taken by whoever is next."""
        if self.in_hand is not None:
            pending = self.in_hand.inbox.pending
            if self.in_hand.batch.messages:
                pending.give_back(self.in_hand.batch)
            self.in_hand = None
            if in_each_others_way and not pending.turns.wait_for_none(0):
                self.pace.rest()

    def is_quick(self) -> bool:
        """Say whether a full batch is stored at once, and before another one loses patience."""
        return self._batch_size.size == self.intake.batch_max and self._took_s < TURN_WAIT_S

    def begin(self, conn: psycopg.Connection) -> None:
        """Make ready for one life of `conn`."""

    def store(self, conn: psycopg.Connection, messages: Sequence[Validated]) -> service.Outcome:
        """Commit a batch. Raises `Unavailable`; `NotYet` or `ChannelGone` in place of a commit."""
        keeping = Keeping(self._bury, self._letters())
        return service.store_batch(conn, messages, self.intake, self._in_commit, keeping)

    def take(self) -> InHand | None:
        """Wait for messages and take what has come; none if nothing came in time."""
        inbox = self.inbox
        if inbox is None:
            self._served.clear()
            if self.inbox is None:
                self._served.wait(IDLE_S)
            return None
        turns = inbox.pending.turns
        if (turns.in_trouble or self.pace.is_resting()) and not turns.wait_for_none(IDLE_S):
            return None
        if not inbox.pending.wait_for_any(IDLE_S):
            return None
        return self.take_from(inbox)

    def take_from(self, inbox: Inbox) -> InHand | None:
        """Take a batch in hand when it is time; none if there is nothing left by then."""
        full = inbox.pending.waiting() >= self.intake.batch_max
        self.stopping.wait(self.pace.wait_s(full=full))
        batch = inbox.pending.take(self.intake.batch_max)
        return InHand(batch, inbox) if batch else None

    def _letters(self) -> Letters:
        # While some cannot be written all are kept, or each batch would find that out anew.
        if self.in_hand is not None and self.in_hand.inbox.pending.deferred.has_letters():
            return Letters.LATER
        return self.letters

    def _settle(self, conn: psycopg.Connection, in_hand: InHand) -> None:
        batch = in_hand.batch
        part = batch.messages[: self._batch_size.size]
        try:
            in_hand.check_channel()
            if batch.shares:
                self._check_turn()
            started = time.monotonic()
            self.pace.begin()
            try:
                with self._batch_size.storing(len(part)):
                    outcome = (self._trace if tracing.on() else self.store)(conn, part)
            finally:
                ended = time.monotonic()
                self._took_s = ended - started
        except ChannelGone:
            in_hand.inbox.pending.let_go(batch, len(part))
        except TooMuch as error:
            if len(part) == 1 and self._is_in_vain(part[0].delivery.tag):
                in_hand.stored(1, part, error.detail)  # what is behind it has its turn
            raise
        else:
            kept = [letter for letter, _ in outcome.deferred]
            in_hand.stored(len(part), kept, next((why for _, why in outcome.deferred), ""))
            if outcome.clashes:
                self.pace.rest()
            metrics.stored(
                outcome,
                redelivered=sum(one.delivery.redelivered for one in part),
                commit_s=self._took_s,
                latency_s=ended - batch.oldest_at,
            )

    def _is_in_vain(self, tag: int) -> bool:
        last, times = self._alone
        self._alone = (tag, times + 1 if tag == last else 1)
        return self.letters is Letters.MAY and self._alone[1] >= ALONE_MAX

    def _trace(self, conn: psycopg.Connection, messages: Sequence[Validated]) -> service.Outcome:
        with tracing.span("store batch", {"messages": len(messages)}) as span:
            tracing.link(span, map(traced.traceparent, messages))
            return self.store(conn, messages)

    def _in_commit(self) -> None:
        # The last look before COMMIT, after whatever the statements waited for.
        self._check_turn()
        if self.in_hand is not None:
            self.in_hand.check_channel()

    def _bury(self, conn: psycopg.Connection, letters: Sequence[DeadLetter]) -> int:
        if letters:  # their ids say in which order they become rows when their provider comes
            self._check_turn()
        return store.insert_dead_letters(conn, letters, queue=self.intake.queue)

    def _check_turn(self) -> None:
        if self.in_hand is not None:
            self.in_hand.inbox.pending.turns.wait(self.in_hand.batch, TURN_WAIT_S)

    def live(self) -> None:
        """Commit over one connection until it is lost or all is to stop."""
        with self.health.reporting(PART), self.connect() as conn:
            self.prepare(conn)
            self.ready.set()
            try:
                while not self.stopping.is_set():
                    self.run_once(conn)
            except Unavailable as error:
                self.ready.clear()
                self.health.problem(PART, str(error))
                retry.report_lost(error)
            finally:
                self.give_back()

    def prepare(self, conn: psycopg.Connection) -> None:
        """Look at what is new at each connection. Raises `Refusal`, or `Unavailable` if unfit."""
        postgres.check_schema(conn)
        checks.check(conn, rehearsal.STATEMENTS, stores=True)
        self.intake.limits = store.column_limits(conn, self.intake.body_bytes_max)
        self.begin(conn)
