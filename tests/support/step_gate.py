"""A gate that one thread stops at until another says how to go on."""

import threading
from collections.abc import Callable
from typing import Literal

from shared.errors import Unavailable
from tests.support.eventually import PAUSE_S

Order = Literal["go", "die", "away"]
LIMIT_S = 60.0
"""How long one step may take beside whatever else the machine does, and an order may be awaited."""


class Died(Exception):
    """The syncer was killed at this step."""


class Gate:
    """Where one thread waits for orders, and another sees where that one is."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._order: Order | None = None
        self._closed = False
        self.at = ""

    def stop(self, at: str) -> None:
        """Wait for an order before the step `at`. Called by the syncer's thread."""
        with self._changed:
            self.at = at
            self._changed.notify_all()
            told = self._changed.wait_for(lambda: self._closed or self._order is not None, LIMIT_S)
            order, self._order, self.at = self._order, None, ""
        if not told:
            message = f"no order within {LIMIT_S} s before: {at}"
            raise AssertionError(message)
        if order == "die" or self._closed:
            raise Died
        if order == "away":
            raise Unavailable("keydb" if at.startswith("keydb") else "postgres", "cut by the test")

    def order(self, order: Order) -> None:
        """Give the order."""
        with self._changed:
            self._order, self.at = order, ""
            self._changed.notify_all()

    def reached(self, ended: Callable[[], bool]) -> bool:
        """Wait a little for the other thread to be at a gate, or at its end."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self.at) or ended(), PAUSE_S)

    def close(self) -> None:
        """From now on, die at every step."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def end(self, _ended: object) -> None:
        """Say that the other thread is at its end."""
        with self._changed:
            self._changed.notify_all()
