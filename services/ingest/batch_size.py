"""How many to store at once: fewer after a statement ran out of time, more when there is time.

A trigger of the user's may need longer for a full batch than a statement may take. The same batch
again would end alike, for ever; half of it, and half of that, comes through.
"""

import contextlib
import math
import time
from collections.abc import Iterator

import structlog

from shared.errors import TooMuch, TooSlow, Unavailable

ROOM = 1 / 3
"""Twice as many are tried after less than this part of the time that was too long."""

log = structlog.get_logger()


class AdaptiveBatchSize:
    """`size` is how many to store now: from 1 to `most`."""

    def __init__(self, most: int) -> None:
        """Begin with as many as there may be."""
        self.size = most
        self._most = most
        self._too_long_s = math.inf

    @contextlib.contextmanager
    def storing(self, count: int) -> Iterator[None]:
        """Store `count` while inside; what is raised there is raised on."""
        started = time.monotonic()
        try:
            yield
        except TooSlow:
            self.note_too_slow(count, time.monotonic() - started)
            raise
        except TooMuch:  # how long that took says nothing of how long more would take
            self._halve(count)
            raise
        except Unavailable:
            self._grow()  # perhaps each was refused: among others it shows which one is at fault
            raise
        self.note_stored(time.monotonic() - started)

    def note_too_slow(self, count: int, after_s: float) -> None:
        """Try fewer than `count`, which ran out of time after so many seconds."""
        self._too_long_s = after_s
        self._halve(count)
        log.warning("batch_split", messages=self.size, after_s=round(after_s, 3))

    def note_stored(self, took_s: float) -> None:
        """Try more if what was stored left time for that."""
        if took_s < self._too_long_s * ROOM:
            self._grow()

    def _halve(self, count: int) -> None:
        self.size = max(1, count // 2)

    def _grow(self) -> None:
        self.size = min(self._most, self.size * 2)
