"""Section 1: what `ops status` says, and what to type next."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from ops.status.core import Finding
from ops.status.snapshot import Down, Shown, Snapshot


def view(
    snapshot: Snapshot, findings: Sequence[Finding], now: datetime, *, not_compared: str = ""
) -> dict[str, Any]:
    """Return the sentence, the findings, the boundary that is shown and when the next one is.

    `not_compared` is why it is not known whether KeyDB shows the balances. The state is `healthy`
    only where all was asked.
    """
    wrong = [one for one in findings if one.level == "wrong"]
    not_asked = list(snapshot.not_asked)
    if not_compared and not wrong:
        not_asked.append(f"balances in KeyDB ({not_compared})")
    shown = snapshot.keydb if isinstance(snapshot.keydb, Shown) else None
    return {
        "state": "wrong" if wrong else "unsure" if not_asked else "healthy",
        "sentence": _sentence(len(wrong), not_asked),
        "findings": findings,
        "not_asked": not_asked,
        "boundary": shown.boundary if shown else None,
        "boundary_age_s": shown.age_s if shown else None,
        "keydb_down": isinstance(snapshot.keydb, Down),
        "next_at": _next(now, snapshot.interval_s),
        "next_in_s": (_next(now, snapshot.interval_s) - now).total_seconds(),
        "interval_s": snapshot.interval_s,
    }


def joined(views: Sequence[dict[str, Any]], common: Sequence[Finding]) -> dict[str, Any]:
    """Return the verdict about several shards, of that about each and what is `common` to all.

    The boundary is the oldest that is shown: no shard is behind it.
    """
    findings = [*common, *(one for view in views for one in view["findings"])]
    findings.sort(key=lambda one: one.level != "wrong")
    wrong = sum(one.level == "wrong" for one in findings)
    not_asked = list(dict.fromkeys(one for view in views for one in view["not_asked"]))
    oldest = max(views, key=lambda view: (view["boundary"] is None, view["boundary_age_s"] or 0))
    return {
        **oldest,
        "state": "wrong" if wrong else "unsure" if not_asked else "healthy",
        "sentence": _sentence(wrong, not_asked),
        "findings": findings,
        "not_asked": not_asked,
        "next_in_s": min(view["next_in_s"] for view in views),
    }


def _sentence(wrong: int, not_asked: Sequence[str]) -> str:
    if wrong:
        return "1 thing is wrong." if wrong == 1 else f"{wrong} things are wrong."
    return "Nothing wrong was found." if not_asked else "Everything is healthy."


def _next(now: datetime, interval_s: float) -> datetime:
    """Return the next boundary: boundaries are multiples of the interval since 1970."""
    return now + timedelta(seconds=interval_s - now.timestamp() % interval_s)
