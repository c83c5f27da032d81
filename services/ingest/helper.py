"""A second writer: it stores a full batch that waits while the first writer is at work.

Postgres executes one statement of a connection after another, and between two of them it waits for
us: for the arrays of the next batch, for the rows of the last one to be read, for round trips. With
a second batch at hand it does not. Only full batches are worth that, so below full speed there is
one writer, and its connection is not even opened before it is needed.
"""

import time

from services.ingest.writer import IDLE_S, InHand, Writer

FIRST_IS_FREE_S = 0.005
REST_S = 60.0
"""For so long there is one writer after a deadlock: to find it takes Postgres a second each time.

Two batches have no identity in common, but a trigger of the user's may change rows that both need.
"""


class Helper(Writer):
    """Stores what the first writer receives, in its turn (`turns.py`)."""

    part = "second writer"

    def __init__(self, first: Writer) -> None:
        """Share all with `first` but the connection."""
        super().__init__(first.connect, first.intake, first.pace, first.health, first.stopping)
        self._first = first
        self.threads = first.threads

    def live(self) -> None:
        """Connect once there is work; then commit until the connection is lost or all stops."""
        while self.in_hand is None and not self._is_needed():
            self.health.progress(self.part)
            if self.stopping.is_set():
                return
        super().live()

    def take(self) -> InHand | None:
        """Take a full batch, if one waits and the first writer is at work."""
        inbox = self._first.inbox
        return self.take_from(inbox) if inbox and self._is_needed() else None

    def _is_needed(self) -> bool:
        inbox = self._first.inbox
        clashed_at = max(self.clashed_at, self._first.clashed_at)
        if inbox is None or time.monotonic() < clashed_at + REST_S:
            self.stopping.wait(IDLE_S)
            return False
        if not inbox.pending.wait_for_many(self.intake.batch_max, IDLE_S):
            return False
        # While the first has trouble with a batch nobody else goes on: it may need company to tell
        # the guilty message (`Writer.run_once`).
        at_work = self._first.in_hand is not None and self._first.ready.is_set()
        if not at_work:
            self.stopping.wait(FIRST_IS_FREE_S)
        return at_work
