"""How often a password may be tried: so seldom that guessing leads nowhere."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

PERIOD_S = 60.0
EACH_MAX, ALL_MAX = 5, 50
"""Attempts within `PERIOD_S` by one, and by all strangers: an attacker may have many addresses."""
REMEMBERED_MAX = 1000


class Attempts:
    """The latest attempts to sign in, by who makes them. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds and never goes back."""
        self._clock = clock
        self._lock = threading.Lock()
        self._all: deque[float] = deque()
        self._by: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, who: str, *, stranger: bool = True) -> float:
        """Count an attempt that is about to be made by an address, or a browser that is known.

        Strangers may use up what all of them have; who is known is not held up by it. Returns 0, or
        for how many seconds there may be none; it is then not counted.
        """
        with self._lock:
            now = self._clock()
            own = self._by.setdefault(who, deque())
            self._by.move_to_end(who)
            if len(self._by) > REMEMBERED_MAX:  # those that are forgotten still count among all
                self._by.popitem(last=False)
            counted = [(own, EACH_MAX), *([(self._all, ALL_MAX)] if stranger else [])]
            wait_s = max(_wait_s(times, limit, now) for times, limit in counted)
            if not wait_s:
                for times, _ in counted:
                    times.append(now)
            return wait_s

    def succeeded(self, who: str) -> None:
        """Forget the attempts of who knew the password."""
        with self._lock:
            self._by.pop(who, None)


def _wait_s(times: deque[float], limit: int, now: float) -> float:
    while times and times[0] <= now - PERIOD_S:
        times.popleft()
    return times[0] + PERIOD_S - now if len(times) >= limit else 0.0
