"""When a commit of ingest may begin: not too soon after the last one, not around a boundary.

A commit costs the same however small it is, and a hundred of them a second would take the
processors from Postgres, the broker and the next tick.

Around a boundary the tick needs processors and the log of Postgres for some milliseconds, and what
ingest commits shortly before it is left to the tick itself. So ingest pauses for 90 ms, and
its next batch is larger. Measured at half of full speed, ticks are a third less late, their
p99 nearly half. Nothing else depends on it: a clock that is wrong only makes the pause useless.
"""

import math
import time
from collections.abc import Callable

COMMIT_EVERY_S = 0.025
QUIET_BEFORE_S = 0.06
"""A commit that begins earlier ends before the tick's last preparation, except at full load."""
QUIET_AFTER_S = 0.03
"""By then most ticks are in KeyDB."""


class CommitPacing:
    """How long to wait before a commit begins."""

    def __init__(self, tick_interval_s: int, clock: Callable[[], float] = time.time) -> None:
        """Boundaries are multiples of the interval; `clock` returns Unix seconds and may step."""
        self._interval_s = tick_interval_s
        self._clock = clock
        self._begun_at = -math.inf

    def begin(self) -> float:
        """Say that a commit begins now; returns when that is (monotonic seconds)."""
        self._begun_at = time.monotonic()
        return self._begun_at

    def wait_s(self, *, full: bool) -> float:
        """Return the seconds to wait; a `full` batch waits for boundaries only."""
        early_s = 0.0 if full else self._begun_at + COMMIT_EVERY_S - time.monotonic()
        early_s = max(0.0, early_s)
        return early_s + self._quiet_s(self._clock() + early_s)

    def _quiet_s(self, at: float) -> float:
        """Return how long the pause around a boundary still lasts at `at`; 0 outside of it."""
        since_s = (at + QUIET_BEFORE_S) % self._interval_s
        return max(0.0, QUIET_BEFORE_S + QUIET_AFTER_S - since_s)
