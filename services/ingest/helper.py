"""A second writer: it stores a full batch that waits while the first writer is at work.

Postgres executes one statement of a connection after another, and between two of them it waits for
us: for the arrays of the next batch, for the rows of the last one to be read, for round trips. With
a second batch at hand it does not. Only full batches are worth that, and only while all goes well:
below full speed and in trouble there is one writer, and for a minute after two were in each other's
way. The second one's connection is opened when it is needed, and closed when it no longer is.
"""

import time

from services.ingest.writer import IDLE_S, InHand, Writer
from shared import retry
from shared.errors import Unavailable

FIRST_IS_FREE_S = 0.005
HANG_UP_S = 60.0
"""The connection is closed when it was not needed for so long."""


class Helper(Writer):
    """Stores what the first writer receives, each batch in its turn (`turns.py`)."""

    part = "second writer"

    def __init__(self, first: Writer) -> None:
        """Share all with `first` but the connection."""
        super().__init__(first.connect, first.intake, first.pace, first.health, first.stopping)
        self._first = first
        self.threads = first.threads
        self._needed_at = 0.0

    def rest(self) -> None:
        """Leave all to the first writer for a while."""
        self._first.rest()

    def live(self) -> None:
        """Connect once there is work; then commit until there is none or the connection is lost.

        Its trouble is nobody's: what it had in hand the first writer takes.
        """
        while not self._is_needed():
            self.health.progress(self.part)
            if self.stopping.is_set():
                return
        is_connected = False
        try:
            with self.connect() as conn:
                is_connected = True
                self.prepare(conn)
                while self._goes_on():
                    self.run_once(conn)
        except Unavailable as error:
            if not is_connected:
                self.rest()  # there may be no more connections to be had
            retry.lost(error)

    def take(self) -> InHand | None:
        """Take a full batch, if one waits and the first writer is at work."""
        inbox = self._first.inbox
        return self.take_from(inbox) if inbox and self._is_needed() else None

    def _goes_on(self) -> bool:
        if self.in_hand is not None:
            self._needed_at = time.monotonic()
        idle_s = time.monotonic() - self._needed_at
        return not self.stopping.is_set() and idle_s < HANG_UP_S

    def _is_needed(self) -> bool:
        inbox = self._first.inbox
        if inbox is None or inbox.pending.turns.in_trouble or self._first.is_resting():
            self.stopping.wait(IDLE_S)
            return False
        if not inbox.pending.wait_for_many(self.intake.batch_max, IDLE_S):
            return False
        if self._first.in_hand is None:  # it takes what waits, or waits for a boundary to pass
            self.stopping.wait(FIRST_IS_FREE_S)
            return False
        self._needed_at = time.monotonic()
        return True
