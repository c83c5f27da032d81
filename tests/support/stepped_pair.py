"""Two syncers moved step by step: begin, go on, stop before a step, fail there, come to rest."""

from collections.abc import Callable

from services.syncer.publisher import PublishResult
from services.syncer.service import Syncer
from tests.support.step_gate import Order
from tests.support.stepped_syncer import SteppedSyncer

STEPS_MAX = 99
"""More than any operation takes."""


class SteppedPair:
    """Two syncers; after each step, one that waited for the other's lock may go on by itself."""

    def __init__(self, syncers: list[SteppedSyncer], look: Callable[[], None]) -> None:
        """`look` is called after each step."""
        self.syncers, self._look = syncers, look

    def __str__(self) -> str:
        return ", ".join(map(str, self.syncers))

    def begin(self, number: int, work: Callable[[Syncer], object], count: int = 0) -> None:
        """Begin an operation unless one is under way, and go `count` steps of it."""
        if not self.syncers[number].busy:
            self.syncers[number].start(work)
        self.go_on(number, count)

    def go_on(self, number: int, count: int = STEPS_MAX) -> None:
        """Go on by so many steps, or to the end."""
        for _ in range(count):
            if self.syncers[number].busy:
                self._order(number, "go")

    def until(self, number: int, gate: str) -> None:
        """Go on until it is before this step, or waits for a lock, or is at its end."""
        while self.syncers[number].gate.at not in ("", gate):
            self._order(number, "go")

    def fail(self, number: int, order: Order) -> None:
        """Let it fail at its step, if it is at one."""
        if self.syncers[number].gate.at:
            self._order(number, order)

    def cut(self, number: int) -> None:
        """End its connection to Postgres."""
        self.syncers[number].cut()
        self.settle()

    def rest(self) -> None:
        """Let both come to their ends, now one and now the other."""
        for _ in range(STEPS_MAX):
            for number in range(len(self.syncers)):
                self.go_on(number, 1)
            if not any(syncer.busy for syncer in self.syncers):
                return
        message = f"no end in sight: {self}"
        raise AssertionError(message)

    def settle(self) -> None:
        """Wait until each is at a step, at its end, or waits for a lock."""
        for syncer in self.syncers:
            if syncer.busy:
                syncer.wait()

    def answered(self, number: int) -> bool:
        """Say whether both servers answered in time; beside other load KeyDB's second may pass."""
        outcome = self.syncers[number].outcome
        return isinstance(outcome, PublishResult) and outcome.state != "unreachable"

    def _order(self, number: int, order: Order) -> None:
        self.syncers[number].go(order)
        self.settle()
        self._look()
