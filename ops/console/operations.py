"""Section 6: requests, notifications, followers, doctor's findings, drift, operators' actions."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ops.console import tick_store
from ops.console.metrics import Replica
from ops.console.poll import Found, Poll
from ops.doctor.core import Check
from ops.status.core import Finding
from ops.status.snapshot import Down, Snapshot
from ops.wording import count
from shared.ledger import notifications, request
from shared.ledger.notifications import Choice
from shared.ledger.request import Place
from shared.postgres_pool import ReadingPool

NEWEST = 8
DRIFT = "minutebook_drift_providers"
AFTER_ALL_KEYS = "\U0010ffff"


def requests(pool: ReadingPool, at: datetime | None = None) -> list[dict[str, Any]]:
    """Return the newest requests, accepted until `at`, and who sent them."""
    before: Place | None = (at, AFTER_ALL_KEYS) if at else None
    with pool.connection() as conn:
        found = request.newest(conn, state=None, before=before, most=NEWEST)
    return [{"said": one.document, "by": one.known.by} for one in found]


def told(pool: ReadingPool, at: datetime | None = None) -> list[notifications.Notification]:
    """Return the newest notifications, made before `at`."""
    with pool.connection() as conn:
        return notifications.newest(conn, Choice(until=at), NEWEST)


def actions(pool: ReadingPool, at: datetime) -> list[tick_store.Action]:
    """Return what operators did last until `at`."""
    with pool.connection() as conn:
        return tick_store.actions(conn, at, NEWEST)


def drifting(drift: float | None) -> list[Finding]:
    """Return what the last reconciliation found, which status does not ask for."""
    if not drift:
        return []
    says = f"the last one found {count(int(drift), 'provider')} whose tables, balance and KeyDB"
    do = "ops reconcile   (docs/runbook.md, Balances and tables differ)"
    return [Finding("wrong", "reconciliation", f"{says} differ", do)]


def failing(doctor: Found) -> list[Finding]:
    """Return what `ops doctor` fails."""
    failed = [one for one in doctor.value or [] if one.verdict == "fail"]
    if not failed:
        return []
    names = ", ".join(f"{one.server} {one.name}" for one in failed)
    says = f"{count(len(failed), 'setting')} must be another: {names}"
    return [Finding("note", "doctor", says, "ops doctor")]


def view(snapshot: Snapshot, poll: Poll, drift: float | None) -> dict[str, Any]:
    """Return what goes on beside the core; what could not be asked says why in its place."""
    ledger = snapshot.postgres
    followers = Found(error=ledger.error) if isinstance(ledger, Down) else Found(ledger.followers)
    return {
        "requests": poll["requests"],
        "notifications": poll["notifications"],
        "followers": followers,
        "doctor": poll["doctor"],
        "checks": _worst_first(poll["doctor"].value or []),
        "drift": drift,
        "actions": poll["actions"],
        "past": False,
    }


def past(pool: ReadingPool, at: datetime) -> dict[str, Any]:
    """Return what went on beside the core at a past time, as far as that is kept."""
    return {
        "requests": Found(requests(pool, at)),
        "notifications": Found(told(pool, at)),
        "actions": Found(actions(pool, at)),
    }


def _worst_first(checks: Sequence[Check]) -> list[Check]:
    order = ("fail", "warn", "ok")
    return sorted(
        (one for one in checks if one.verdict != "ok"), key=lambda one: order.index(one.verdict)
    )


def drift_of(replicas: Sequence[Replica]) -> float | None:
    """Return on how many providers the last reconciliation found no agreement, if one is known."""
    known = [one.now.get(DRIFT, math.nan) for one in replicas if one.name == "syncer"]
    return max((one for one in known if not math.isnan(one)), default=None)
