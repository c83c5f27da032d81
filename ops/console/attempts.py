"""How often a password may be tried: so seldom that guessing leads nowhere."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

PERIOD_S = 60.0
EACH_MAX, ALL_MAX = 5, 50
"""Attempts within `PERIOD_S` by one address, and by all of them: an attacker may have many."""
ADDRESSES_MAX = 1000


class Attempts:
    """The latest attempts to sign in, by address. Safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds and never goes back."""
        self._clock = clock
        self._lock = threading.Lock()
        self._all: deque[float] = deque()
        self._by: OrderedDict[str, deque[float]] = OrderedDict()

    def begin(self, address: str) -> float:
        """Count an attempt that is about to be made.

        Returns 0, or for how many seconds there may be none; it is then not counted.
        """
        with self._lock:
            now = self._clock()
            own = self._by.setdefault(address, deque())
            self._by.move_to_end(address)
            if len(self._by) > ADDRESSES_MAX:  # those that are forgotten still count among all
                self._by.popitem(last=False)
            wait_s = max(_wait_s(own, EACH_MAX, now), _wait_s(self._all, ALL_MAX, now))
            if not wait_s:
                own.append(now)
                self._all.append(now)
            return wait_s

    def succeeded(self, address: str) -> None:
        """Forget the attempts of who knew the password."""
        with self._lock:
            self._by.pop(address, None)


def _wait_s(times: deque[float], limit: int, now: float) -> float:
    while times and times[0] <= now - PERIOD_S:
        times.popleft()
    return times[0] + PERIOD_S - now if len(times) >= limit else 0.0
