"""Section 1: what `ops status` says, and what to type next."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ops.status.core import Finding
from ops.status.snapshot import Down, Shown, Snapshot


def view(snapshot: Snapshot, findings: Sequence[Finding], now: datetime) -> dict[str, Any]:
    """Return the sentence, the findings, the boundary that is shown and when the next one is."""
    wrong = [one for one in findings if one.level == "wrong"]
    shown = snapshot.keydb if isinstance(snapshot.keydb, Shown) else None
    return {
        "healthy": not wrong,
        "sentence": _sentence(snapshot, len(wrong)),
        "findings": findings,
        "not_asked": snapshot.not_asked,
        "boundary": shown.boundary if shown else None,
        "boundary_age_s": shown.age_s if shown else None,
        "keydb_down": isinstance(snapshot.keydb, Down),
        "next_at": _next(now, snapshot.interval_s),
        "next_in_s": (_next(now, snapshot.interval_s) - now).total_seconds(),
        "now": now,
        "interval_s": snapshot.interval_s,
    }


def _sentence(snapshot: Snapshot, wrong: int) -> str:
    if wrong:
        return "1 thing is wrong." if wrong == 1 else f"{wrong} things are wrong."
    return "Nothing wrong was found." if snapshot.not_asked else "Everything is healthy."


def _next(now: datetime, interval_s: float) -> datetime:
    """Return the next boundary: boundaries are multiples of the interval since 1970."""
    return now + timedelta(seconds=interval_s - now.timestamp() % interval_s)
