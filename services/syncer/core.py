"""The syncer's decisions, without clock, socket or randomness."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, TypeGuard

KEYS_PER_SCRIPT_MAX = 100_000
"""Above this, a publication is sent in chunks under a claim: one script blocks KeyDB meanwhile."""

PARTIAL_PREFIX = "partial:"
APPLIED_AT = re.compile(r"[0-9]{1,10}\.[0-9]{6}")


@dataclass(frozen=True, slots=True)
class Watermark:
    """Which tick a store shows: the pair of `epoch` and `token` names one tick of one database."""

    epoch: int
    token: str
    boundary: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """KeyDB's watermark: `raw` as read, for the comparison; `mark` if it can be understood.

    `applied_at_s` is when KeyDB applied it, by its own clock, in seconds since 1970.
    """

    raw_epoch: str
    raw_token: str
    mark: Watermark | None
    applied_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class NewestTick:
    """The newest row of `tick`; `snapshot` is what had been counted by then.

    What is to be shown is the newest but for interim ticks: `due_epoch`, `due_token`, `boundary`.
    `read_at` is when it was read, by Postgres's clock.
    """

    epoch: int
    token: str
    due_epoch: int
    due_token: str
    boundary: datetime | None
    snapshot: str
    same_cluster: bool
    read_at: datetime


Values = Mapping[str, str]
"""Balances by key."""

Before = tuple[str | None, str]
"""The key that a provider was shown under, if any, and its balance."""


@dataclass(slots=True)
class Memory:
    """What was read from the outbox since tick `base` and added up, not yet written anywhere.

    It lives no longer than its connection: a failover can lose rows that were already read.
    `before` is what the ledger says of each provider at `base`: known here, it need not be looked
    up at the boundary. `packed` is all of it in the form that the store takes; None if outdated.
    `unshown` is what interim ticks up to `base` have changed since the last tick that was to be
    shown; None if that alone is not what to send: keys came or went, or another syncer wrote one.
    """

    base: str
    snapshot: str
    unshown: Values | None = field(default_factory=dict)
    sums: dict[int, int] = field(default_factory=dict)
    rows: int = 0
    before: dict[int, Before] = field(default_factory=dict)
    packed: dict[str, object] | None = None

    def add(self, snapshot: str, sums: Iterable[tuple[int, int]], rows: int) -> None:
        """Add what became visible between this memory's snapshot and `snapshot`."""
        self.snapshot = snapshot
        self.rows += rows
        self.packed = None
        for provider_id, amount in sums:
            self.sums[provider_id] = self.sums.get(provider_id, 0) + amount

    def with_unshown(self, values: Values | None) -> Values | None:
        """Return `unshown` after one more tick that changed `values`."""
        if self.unshown is None or values is None:
            return None
        return {**self.unshown, **values}

    def unknown(self) -> list[int]:
        """Return the providers that changed and of which `before` says nothing yet."""
        return list(self.sums.keys() - self.before.keys())


def resume(newest: NewestTick) -> Memory:
    """Return the memory of one who knows of all before only what the newest tick says."""
    interim = newest.token != newest.due_token
    return Memory(newest.token, newest.snapshot, None if interim else {})


Cause = Literal["next", "behind", "missing", "unknown"]


@dataclass(frozen=True, slots=True)
class Publication:
    """What takes KeyDB from the watermark `found` to `target`: absolute values, no increments.

    `keys_known`: what has the watermark `found` has all keys of `values` in its set of our keys.
    """

    found: Found
    target: Watermark
    values: Values
    removals: tuple[str, ...]
    cause: Cause
    keys_known: bool = False


Verdict = Literal["fold", "written", "old", "ahead"]


def judge(
    boundary: datetime, newest: datetime | None, *, ahead: bool, newest_is_false: bool = False
) -> Verdict:
    """Say what a tick is: to be folded, already written, older than the newest, or in the future.

    A future boundary is refused, or one wrong clock would freeze KeyDB until that time comes.
    Where Postgres's own clock was wrong, too, the newest boundary `is_false` now: it makes no
    other one old.
    """
    if newest is not None and boundary <= newest:
        if boundary == newest:
            return "written"
        if not newest_is_false:
            return "old"
    return "ahead" if ahead else "fold"


def next_epoch(newest: NewestTick, found: Found | None) -> int:
    """Return an epoch above Postgres's and KeyDB's, so that nobody sees the number go back."""
    shown = found.mark.epoch if found and found.mark else 0
    return 1 + max(newest.epoch, shown)


def understand(raw_epoch: str, raw_token: str, boundary: str, applied_at_s: str = "") -> Found:
    """Return KeyDB's watermark; what is missing or garbled has no `mark`, yet can be compared."""
    plausible = raw_epoch.isascii() and raw_epoch.isdigit() and len(raw_epoch) <= 18  # noqa: PLR2004 - the digits that any bigint has
    plausible = plausible and raw_token.isascii() and raw_token.isprintable()  # as ours are
    mark = Watermark(int(raw_epoch), raw_token, boundary) if plausible and raw_token else None
    applied = float(applied_at_s) if APPLIED_AT.fullmatch(applied_at_s) else None
    return Found(raw_epoch, raw_token, mark, applied)


def is_next(found: Found | None, newest: NewestTick) -> TypeGuard[Found]:
    """Say whether KeyDB shows the tick that was due before the one just written."""
    mark = found.mark if found else None
    return mark is not None and (mark.epoch, mark.token) == (newest.due_epoch, newest.due_token)


def settled(found: Found, *, known: bool, target: Watermark) -> bool:
    """Say whether KeyDB already shows `target`, or a later tick of this same database."""
    return known and found.mark is not None and found.mark.epoch >= target.epoch


def must_wait(found: Found, *, known: bool, target: Watermark) -> bool:
    """Say whether `target` would take the epoch back; the next tick is numbered above it."""
    return not known and found.mark is not None and found.mark.epoch >= target.epoch


def lateness_s(found: Found) -> float | None:
    """Return how long after its boundary KeyDB's watermark was applied; None if it says nothing."""
    if found.mark is None or found.applied_at_s is None:
        return None
    try:
        boundary = datetime.fromisoformat(found.mark.boundary)
    except ValueError:
        return None
    return found.applied_at_s - boundary.timestamp()


def rfc3339(boundary: datetime) -> str:
    """Return a time as `2026-11-20T23:42:00Z`."""
    return boundary.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
