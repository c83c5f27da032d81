"""Clocks: boundaries are this promise, so all who have a part in it must agree on the time."""

import time
from collections.abc import Callable

from ops.doctor import core
from ops.doctor.core import Check
from ops.wording import age

OFFSET_WARN_S, OFFSET_FAIL_S = 0.25, 1.0


def offset(server: str, ask: Callable[[], float]) -> Check:
    """Compare a server's clock (Unix seconds) with this machine's, half a round trip allowed."""
    before = time.time()
    theirs = ask()
    after = time.time()
    return assess(server, theirs - (before + after) / 2, (after - before) / 2)


def assess(server: str, offset_s: float, doubt_s: float) -> Check:
    """Assess how far a clock is off; `doubt_s` is what the network may account for."""
    sure_s = max(0.0, abs(offset_s) - doubt_s)
    return core.check(
        server,
        "clock",
        f"{age(offset_s)} from this machine's (± {age(doubt_s)})",
        fail=sure_s > OFFSET_FAIL_S,
        warn=sure_s > OFFSET_WARN_S,
        advice="run NTP on every machine: a tick more than 1 s ahead of Postgres's clock is"
        " refused, and lateness is measured by KeyDB's",
    )
