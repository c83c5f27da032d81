"""How many to store at once: fewer after a statement ran out of time, more when there is time.

A trigger of the user's may need longer for a full batch than a statement may take. The same batch
again would end alike each time; half of it, and half of that, comes through.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator

import structlog

from shared.errors import TooMuch, TooSlow, Unavailable

ROOM = 1 / 3
"""The size doubles after a batch that took less than this share of the time that was too long."""

log = structlog.get_logger()


class AdaptiveBatchSize:
    """`size` is how many to store now: from 1 to `most`."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with as many as there may be; `clock` returns seconds."""
        self.size = most
        self._most = most
        self._clock = clock
        self._too_long_s = math.inf

    @contextlib.contextmanager
    def storing(self, count: int) -> Iterator[None]:
        """Store `count` while inside; what is raised there is raised on."""
        began = self._clock()
        try:
            yield
        except TooMuch as error:
            self.size = max(1, count // 2)
            if isinstance(error, TooSlow):  # else the time says nothing of how long more would take
                self._too_long_s = self._clock() - began
                log.warning("batch_split", messages=self.size, after_s=round(self._too_long_s, 3))
            raise
        except Unavailable:
            self._grow()  # a larger batch, in which others succeed, shows which one is at fault
            raise
        if self._clock() - began < self._too_long_s * ROOM:
            self._grow()

    def _grow(self) -> None:
        self.size = min(self._most, self.size * 2)
