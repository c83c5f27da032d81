"""A second writer: it stores a full batch that waits while the first writer is at work.

Postgres executes one statement of a connection after another, and between two of them it waits for
us: for the arrays of the next batch, for the rows of the last one to be read, for round trips. With
a second batch at hand it does not. Only full batches are worth that, and only while all goes well:
below full speed and in trouble there is one writer, and for a minute after two were in each other's
way. The second one's connection is opened when it is needed, and closed when it no longer is.
"""

import time

import psycopg
import structlog

from services.ingest.commit_pacing import REST_S
from services.ingest.inbox import InHand
from services.ingest.writer import IDLE_S, Writer
from shared.errors import Unavailable

log = structlog.get_logger()

FIRST_IS_FREE_S = 0.005
"""The pause until the first writer is looked at again that is about to take what waits."""
HANG_UP_S = 60.0
"""The connection is closed when it was not needed for so long."""
LOST_REST_S = 2.0
"""Seconds without a second writer after its connection was lost or refused; doubled each time, up
to `REST_S`."""


class Helper(Writer):
    """Stores what the first writer receives, each batch in its turn (`turns.py`)."""

    name = "second writer"

    def __init__(self, first: Writer) -> None:
        """Share all with `first` but the connection."""
        super().__init__(first.connect, first.intake, first.pace, first.health, first.stopping)
        self._first = first
        self._needed_at = 0.0
        self._connect_at = 0.0
        self._lost_rest_s = LOST_REST_S

    def live(self) -> None:
        """Connect once there is work; then commit until there is none or the connection is lost.

        Its failures do not make ingest unhealthy: the first writer takes what it had in hand. The
        schema is the one that the first has looked at.
        """
        while not self._is_needed():
            if self.stopping.is_set():
                return
        began_at = time.monotonic()
        try:
            with self.connect() as conn:
                log.info("second_writer_connected")
                while self._goes_on():
                    self.run_once(conn)
                self.give_back()
        except Unavailable as error:
            if time.monotonic() - began_at > REST_S:
                self._lost_rest_s = LOST_REST_S
            self._connect_at = time.monotonic() + self._lost_rest_s
            self._lost_rest_s = min(2 * self._lost_rest_s, REST_S)
            log.info("second_writer_lost", error=str(error))

    def take(self) -> InHand | None:
        """Take a full batch, if one waits and the first writer is at work."""
        inbox = self._first.inbox
        return self.take_from(inbox) if inbox and self._is_needed() else None

    def retry_deferred(self, conn: psycopg.Connection) -> None:
        """Leave that to the first writer."""

    def idle(self) -> None:
        """Say nothing: it is the first one's part to be there."""

    def progress(self) -> None:
        """Say that messages are being stored, unless the first one has to say why it cannot."""
        if self._first.ready.is_set():
            super().progress()

    def _goes_on(self) -> bool:
        if self.stopping.is_set():
            return False
        if self.in_hand is not None:
            self._needed_at = time.monotonic()
        # The first one may need the connection that we do not.
        return self._first.ready.is_set() and time.monotonic() - self._needed_at < HANG_UP_S

    def _is_needed(self) -> bool:
        inbox = self._first.inbox
        if inbox is None or inbox.pending.turns.in_trouble or self._is_to_rest():
            self.stopping.wait(IDLE_S)
            return False
        if not inbox.pending.wait_for_many(self.intake.batch_max, IDLE_S):
            return False
        if self._first.in_hand is None:  # it takes what waits, or waits for a boundary to pass
            self.stopping.wait(FIRST_IS_FREE_S)
            return False
        self._needed_at = time.monotonic()
        return True

    def _is_to_rest(self) -> bool:
        is_lost = time.monotonic() < self._connect_at
        return is_lost or self.pace.is_resting() or not self._first.is_quick()
