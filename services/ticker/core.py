"""Which boundary is due, given a clock that may step. Times are Unix seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Due:
    """What to do now: `boundary` to publish, if any, and how many before it went by unpublished."""

    boundary: int | None
    missed: int
    stepped_back: bool


class Boundaries:
    """The multiples of the interval since 1970, each handed out once unless time repeats."""

    def __init__(self, interval_s: int, now: float) -> None:
        """Begin at `now`: the first boundary is the next one."""
        self._interval_s = interval_s
        self._last = self._at_or_before(now)

    def next_at(self) -> int:
        """Return the next boundary."""
        return self._last + self._interval_s

    def due(self, now: float) -> Due:
        """Return the boundary that has come, or none.

        After a step forward only the newest is due, the others count as missed. After a step back
        by more than an interval counting begins again there; consumers tell repetitions apart by
        the boundary itself.
        """
        current = self._at_or_before(now)
        if current < self._last - self._interval_s:
            self._last = current
            return Due(None, 0, stepped_back=True)
        if current <= self._last:
            return Due(None, 0, stepped_back=False)
        missed = (current - self._last) // self._interval_s - 1
        return Due(current, missed, stepped_back=False)

    def done(self, boundary: int) -> None:
        """Say that `boundary` was published."""
        self._last = boundary

    def skip(self, now: float) -> int:
        """Let go of all boundaries up to `now`; return how many went by unpublished."""
        current = self._at_or_before(now)
        missed = max(0, (current - self._last) // self._interval_s)
        self._last = max(self._last, current)
        return missed

    def _at_or_before(self, now: float) -> int:
        return int(now // self._interval_s) * self._interval_s
