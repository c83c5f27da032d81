"""Section 2: the way of a transaction, box by box, with its figures and its health.

A box is `wrong` where `ops status` says so, and only `follows` where it says that something else
comes first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from ops.console import drawing
from ops.console.metrics import Replica
from ops.console.postgres_probe import EXACT_MAX
from ops.console.rendering import NOTHING, amount
from ops.console.servers import ASIDE_TIMEOUT_S
from ops.deployment import DeploymentSettings
from ops.management_page import Page
from ops.status import advice
from ops.status.core import Finding
from ops.status.snapshot import Down, Ledger, Queues, Shown, Snapshot, Unacknowledged
from ops.wording import age, count

State = Literal["healthy", "note", "wrong", "follows", "unknown"]
HISTORY = "lengths_age=3600&lengths_incr=60&msg_rates_age=60&msg_rates_incr=5"
ACTIVE_GAUGE = "minutebook_default_partition_rows"
"""NaN at a syncer that stands by."""
INGEST_ROWS, INGEST_COMMITS = "minutebook_ingest_rows_total", "minutebook_ingest_commit_seconds"
CONCERNS = {
    "rabbitmq": ("rabbitmq", "queue"),
    "ingest": ("ingest",),
    "postgres": ("postgres", "outbox", "disk"),
    "syncer": ("syncer", "ticker", "tick"),
    "keydb": ("keydb",),
}
"""What the findings that belong to a box are about."""
SOURCES = {"rabbitmq", "postgres", "keydb"}


@dataclass(frozen=True, slots=True)
class Box:
    """One part of the way: its figures by name, why it is not healthy, a dot for each replica."""

    name: str
    title: str
    state: State
    reasons: list[str]
    figures: list[tuple[str, str]]
    dots: list[tuple[str, State]] = field(default_factory=list)
    line: str = ""


@dataclass(frozen=True, slots=True)
class Depths:
    """What the management page tells of the queue: rates per second, and the last hour's depth."""

    ready: int
    unacknowledged: int
    incoming: float | None
    outgoing: float | None
    depths: list[int]


def depths(chosen: DeploymentSettings) -> Depths | None:
    """Ask the management page; None where it is not set. Raises `Unavailable`."""
    if not chosen.rabbitmq_management_url.get_secret_value():
        return None
    found = Page(chosen, ASIDE_TIMEOUT_S).queue(chosen.source, HISTORY)
    stats = found.get("message_stats") or {}
    samples = (found.get("messages_details") or {}).get("samples") or []
    return Depths(
        found.get("messages_ready", 0),
        found.get("messages_unacknowledged", 0),
        _rate(stats, "publish_details"),
        _rate(stats, "ack_details"),
        [one["sample"] for one in sorted(samples, key=lambda one: one["timestamp"])],
    )


def _rate(stats: Mapping[str, Any], name: str) -> float | None:
    rate = (stats.get(name) or {}).get("rate")
    return None if rate is None else float(rate)


def view(
    snapshot: Snapshot,
    findings: Sequence[Finding],
    replicas: Sequence[Replica],
    queue: Depths | None,
) -> dict[str, Any]:
    """Return the five boxes."""
    made = [
        _box(snapshot, findings, "rabbitmq", "Queue", _queue(snapshot.rabbitmq, queue)),
        _box(snapshot, findings, "ingest", "Ingest", _ingest(replicas)),
        _box(snapshot, findings, "postgres", "Postgres", _postgres(snapshot.postgres)),
        _box(snapshot, findings, "syncer", "Syncer", _syncer(snapshot, replicas)),
        _box(snapshot, findings, "keydb", "KeyDB", _keydb(snapshot.keydb)),
    ]
    line = drawing.area(queue.depths) if queue and queue.depths else ""
    return {"boxes": made, "line": line, "depth_max": max(queue.depths) if line and queue else 0}


def _box(
    snapshot: Snapshot,
    findings: Sequence[Finding],
    name: str,
    title: str,
    figures: list[tuple[str, str]],
) -> Box:
    about = [one for one in findings if one.about in CONCERNS[name]]
    wrong = [one for one in about if one.level == "wrong"]
    state: State = "healthy"
    if wrong:
        down = name in SOURCES and isinstance(getattr(snapshot, name), Down)
        state = "wrong" if down or not all(_follows(snapshot, one) for one in wrong) else "follows"
    elif about:
        state = "note"
    elif name in ("ingest", "syncer") and not _asked(snapshot, name):
        state = "unknown"
    return Box(name, title, state, [one.says for one in wrong or about], figures,
               _dots(snapshot, name))  # fmt: skip


def _follows(snapshot: Snapshot, one: Finding) -> bool:
    first = advice.first(snapshot)
    return bool(first) and one.do.startswith(first)


def _asked(snapshot: Snapshot, name: str) -> bool:
    return any(one.name == name for one in snapshot.services)


def _dots(snapshot: Snapshot, name: str) -> list[tuple[str, State]]:
    names = ("syncer", "ticker") if name == "syncer" else (name,)
    return [
        (f"{one.name} {one.address}", "healthy" if one.healthy else "wrong")
        for one in snapshot.services
        if one.name in names
    ]


def _queue(found: Queues | Down, queue: Depths | None) -> list[tuple[str, str]]:
    if isinstance(found, Down):
        return []
    state = found.transactions
    ready = queue.ready if queue else state.messages if state else None
    held = found.unacknowledged
    unacknowledged = queue.unacknowledged if queue else None
    if unacknowledged is None and isinstance(held, Unacknowledged):
        unacknowledged = held.messages
    rates = (queue.incoming, queue.outgoing) if queue else (None, None)
    return [
        ("ready", amount(ready)),
        ("unacknowledged", amount(unacknowledged)),
        ("in", _per_second(rates[0])),
        ("out", _per_second(rates[1])),
    ]


def _ingest(replicas: Sequence[Replica]) -> list[tuple[str, str]]:
    ours = [one for one in replicas if one.name == "ingest"]
    rates = [rate for one in ours if (rate := one.rate(INGEST_ROWS)) is not None]
    commits = [p99 for one in ours if (p99 := one.p99(INGEST_COMMITS)) is not None]
    return [
        ("replicas", f"\N{MULTIPLICATION SIGN}{len(ours)}" if ours else NOTHING),
        ("rows", _per_second(sum(rates) if rates else None)),
        ("commit p99", f"\N{LESS-THAN OR EQUAL TO} {age(max(commits))}" if commits else NOTHING),
    ]


def _postgres(found: Ledger | Down) -> list[tuple[str, str]]:
    if isinstance(found, Down):
        return []
    return [
        ("unfolded", count(found.unfolded_rows, "row")),
        ("oldest", age(found.unfolded_age_s) if found.unfolded_rows else NOTHING),
        ("providers", _providers(found.providers)),
    ]


def _providers(number: int) -> str:
    return f"\N{ALMOST EQUAL TO} {amount(number)}" if number > EXACT_MAX else amount(number)


def _syncer(snapshot: Snapshot, replicas: Sequence[Replica]) -> list[tuple[str, str]]:
    ours = [one for one in replicas if one.name == "syncer"]
    at_work = [one for one in ours if one.now.get(ACTIVE_GAUGE, float("nan")) >= 0]
    tick = snapshot.postgres.tick if isinstance(snapshot.postgres, Ledger) else None
    late = tick.lateness_s if tick else None
    tickers = sum(one.name == "ticker" for one in snapshot.services)
    return [
        ("active", amount(len(at_work)) if ours else NOTHING),
        ("standby", amount(len(ours) - len(at_work)) if ours else NOTHING),
        ("ticker", f"\N{MULTIPLICATION SIGN}{tickers}" if tickers else NOTHING),
        ("last tick", f"{age(late)} late" if late is not None else NOTHING),
    ]


def _keydb(found: Shown | Down) -> list[tuple[str, str]]:
    if isinstance(found, Down):
        return []
    at = found.boundary.astimezone(UTC) if found.boundary else None
    return [
        ("keys", amount(found.keys)),
        ("watermark", _clock(at)),
        ("age", age(found.age_s) if at else NOTHING),
    ]


def _clock(at: datetime | None) -> str:
    return at.strftime("%H:%M:%S") if at else NOTHING


def _per_second(rate: float | None) -> str:
    if rate is None:
        return NOTHING
    if 0 < rate < 0.1:  # noqa: PLR2004 - digits
        return "< 0.1/s"
    return f"{rate:,.0f}/s" if rate >= 10 or rate == 0 else f"{rate:.1f}/s"  # noqa: PLR2004 - digits
