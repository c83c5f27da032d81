"""What the tour waits for, and holds one part's words against another's by."""

import time
from collections.abc import Callable
from typing import Any

from demo.failure import DemoFailed
from tour.queues import Document

TIMEOUT_S = 30.0
PAUSE_S = 0.2


def same(what: str, found: Document, wanted: Document) -> None:
    """Raise `DemoFailed` unless `found` has all that is `wanted`."""
    faults = [
        f"{what} has {name} {found.get(name)!r}, it should be {value!r}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if faults:
        raise DemoFailed("; ".join(faults))


def until(done: Callable[[], Any], fault: str, timeout_s: float = TIMEOUT_S) -> None:
    """Ask again until it is done. Raises `DemoFailed` if it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline:
            raise DemoFailed(f"after {timeout_s:g} s {fault}; see 'make logs'")
        time.sleep(PAUSE_S)
