"""Faults one after another, each begun while others may still go on; never two on one part.

A part that was struck is left alone until it is healthy, at most `HEALTHY_WITHIN_S`: a server that
only ever starts would keep everybody idle. On a slow machine it takes longer.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.faults.difference import Difference
from tests.faults.fault import Fault, title
from tests.support.stack import Stack

EVERY_S = 2.4
HEALTHY_WITHIN_S = 45.0
ATTEMPTS_MAX = 5
"""One whose moment never came, because others kept everybody idle, is tried again."""
AT_ONCE_MAX = 5
POLL_S = 0.5
AROUND_S = 20.0
"""A difference that began this long before a fault, or after it, may be of its making."""


@dataclass
class Strike:
    """One fault of a sequence and what came of it; times are monotonic."""

    number: int
    fault: Fault
    begun_s: float
    ended_s: float = 0.0
    attempt: int = 1
    in_flight: bool = False
    missed: bool = False
    """Its moment did not come; nothing was done."""
    error: str = ""

    def describe(self) -> str:
        """Return it in one line."""
        flight = "in flight" if self.in_flight else ""
        took_s = self.ended_s - self.begun_s
        return f"{title(self.fault):32} {took_s:5.1f} s  {flight:9} {self.error}"


OnEnd = Callable[[Strike], None]
IsWell = Callable[[str], bool]
Turn = tuple[int, Fault]
"""The number of the attempt, and whose it is."""


class Striker:
    """Strikes; `strikes` are those that have begun, in order."""

    def __init__(
        self, stack: Stack, on_end: OnEnd, is_healthy: IsWell, every_s: float = EVERY_S
    ) -> None:
        """`on_end` is called in other threads, once for each fault."""
        self._stack = stack
        self._on_end = on_end
        self._is_healthy = is_healthy
        self._every_s = every_s
        self._free = threading.Condition()
        self._busy: set[str] = set()
        self._striking = 0
        self._pending: list[Turn] = []
        self.strikes: list[Strike] = []

    def run(self, faults: Sequence[Fault], until_s: float | None = None) -> None:
        """Begin a fault every so often, until there are no more or `until_s`; wait for the last."""
        self._pending = [(1, one) for one in faults]
        with ThreadPoolExecutor() as pool:
            due_s = time.monotonic()
            while not _over(until_s) and (turn := self._take()):
                attempt, fault = turn
                strike = Strike(len(self.strikes) + 1, fault, time.monotonic(), attempt=attempt)
                self.strikes.append(strike)
                pool.submit(self._strike, strike)
                due_s = max(due_s + self._every_s, time.monotonic())
                threading.Event().wait(due_s - time.monotonic())

    def around(self, difference: Difference) -> list[str]:
        """Return the faults that went on about when a difference began."""
        at_s = difference.at_s
        return [
            f"{one.number} {title(one.fault)}"
            for one in self.strikes
            if at_s is None or one.begun_s - AROUND_S <= at_s <= one.ended_s + AROUND_S
        ]

    def _take(self) -> Turn | None:
        """Wait until one may strike, and return it; None when all have struck.

        The part with the most faults left comes first, or it would be alone at the end. All else
        comes in the order given, and behind it what missed its moment.
        """
        with self._free:
            self._free.wait_for(lambda: self._ready() or not (self._pending or self._striking))
            if not self._pending:
                return None
            longest, _ = Counter(fault.part for _, fault in self._pending).most_common(1)[0]
            ready = self._ready()
            chosen = next((one for one in ready if one[1].part == longest), ready[0])
            self._busy.add(chosen[1].part)
            self._striking += 1
            self._pending.remove(chosen)
            return chosen

    def _ready(self) -> list[Turn]:
        if self._striking == AT_ONCE_MAX:
            return []
        return [one for one in self._pending if one[1].part not in self._busy]

    def _strike(self, strike: Strike) -> None:
        try:
            strike.in_flight = strike.fault.strike(self._stack).in_flight
        except AssertionError as error:
            strike.missed, strike.error = True, f"missed: {error}"
            if strike.attempt < ATTEMPTS_MAX:
                with self._free:
                    self._pending.append((strike.attempt + 1, strike.fault))
        except Exception as error:  # noqa: BLE001 - the run goes on and says so at the end
            strike.error = f"{type(error).__name__}: {error}"
        finally:
            strike.ended_s = time.monotonic()
            self._free_again(striking=1)
            self._on_end(strike)
            self._recover(strike.fault.part)
            self._free_again(part=strike.fault.part)

    def _recover(self, part: str) -> None:
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while time.monotonic() < deadline and not self._is_healthy(part):
            threading.Event().wait(POLL_S)

    def _free_again(self, part: str = "", striking: int = 0) -> None:
        with self._free:
            self._busy.discard(part)
            self._striking -= striking
            self._free.notify_all()


def _over(until_s: float | None) -> bool:
    return until_s is not None and time.monotonic() >= until_s
