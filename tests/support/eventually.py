"""Waiting for a state instead of sleeping for a time."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE_S, PAUSE_MAX_S = 0.02, 0.1
PART_OF_WAIT = 0.1
"""A pause is as long as this part of the time waited so far, within those two: what comes late is
asked for less often, and noticed hardly later."""
TIMEOUT_S = 30.0
"""Many times what anything takes on a quiet machine: only a failing test waits for so long."""


def eventually(
    probe: Callable[[], T], timeout_s: float = TIMEOUT_S, *, pause_s: float = PAUSE_S
) -> T:
    """Return the first truthy answer of `probe`; an AssertionError counts as "not yet".

    Fails with the last thing it saw. `pause_s` is for a probe that costs more than what is awaited.
    """
    begun = time.monotonic()
    pause = threading.Event()
    while True:
        try:
            seen = probe()
        except AssertionError as error:
            last: object = error
        else:
            if seen:
                return seen
            last = seen
        waited_s = time.monotonic() - begun
        if waited_s > timeout_s:
            message = f"not within {timeout_s} s; last seen: {last!r}"
            raise AssertionError(message)
        pause.wait(max(pause_s, min(waited_s * PART_OF_WAIT, PAUSE_MAX_S)))
