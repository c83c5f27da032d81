"""The syncer's decisions, without clock, socket or randomness."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

KEYS_PER_SCRIPT_MAX = 100_000
"""More keys are sent in chunks, since KeyDB answers nobody else while a script runs."""
PARTIAL_PREFIX = "partial:"
"""How the token begins of a KeyDB that has some of the chunks."""
APPLIED_AT = re.compile(r"[0-9]{1,10}\.[0-9]{6}")
EPOCH_DIGITS_MAX = 18
"""Any number of so many digits is a bigint."""
AHEAD_MAX = timedelta(seconds=1)
"""How far in Postgres's future a boundary may lie: the tolerance of the promise (±1 s)."""
FALSE_AHEAD = timedelta(seconds=120)
"""A written boundary that is further ahead of Postgres's clock is false: that clock was wrong then.
A nearer one stays, and makes those before it old: taken back, it would be written twice."""

Values = Mapping[str, str]
"""Balances by key, as KeyDB shows them."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """Which tick KeyDB shows: the pair of `epoch` and `token` names one tick of one database."""

    epoch: int
    token: str
    boundary: str = ""


@dataclass(frozen=True, slots=True)
class ObservedWatermark:
    """KeyDB's watermark: `raw_…` as read, to compare with; None if that is no `watermark`.

    `applied_at_s` is when KeyDB applied it, by its own clock, in seconds since 1970.
    """

    raw_epoch: str
    raw_token: str
    watermark: Watermark | None
    applied_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class NewestTick:
    """The newest row of `tick`, interim or not; `snapshot` is up to where it has counted.

    `due_…` are of the newest due tick, the one to be shown; `due_boundary` is None for the baseline
    of a new database. `read_at` is by Postgres's clock.
    """

    epoch: int
    token: str
    due_epoch: int
    due_token: str
    due_boundary: datetime | None
    snapshot: str
    same_cluster: bool
    read_at: datetime


@dataclass(slots=True)
class Accumulator:
    """What was read from the outbox since the tick `base` (its token), and is not written yet.

    `snapshot` is up to where was read; `sums` are by provider, of `rows` rows. `unpublished` is
    written, but not sent: what interim ticks changed since the last due tick, up to `base`. It is
    None if what to send must be read from Postgres: keys came or went, or an interim tick was
    written by another syncer, or in an earlier life.

    It lives no longer than its connection: a failover can lose rows that were already read.
    """

    base: str
    snapshot: str
    unpublished: Values | None = field(default_factory=dict)
    sums: dict[int, int] = field(default_factory=dict)
    rows: int = 0

    def add(self, snapshot: str, sums: Iterable[tuple[int, int]], rows: int) -> None:
        """Add what became visible between this accumulator's snapshot and `snapshot`."""
        self.snapshot = snapshot
        self.rows += rows
        for provider_id, amount in sums:
            self.sums[provider_id] = self.sums.get(provider_id, 0) + amount

    def unpublished_with(self, values: Values | None) -> Values | None:
        """Return `unpublished` after one more tick that changed `values`."""
        if self.unpublished is None or values is None:
            return None
        return {**self.unpublished, **values}


def resume(newest: NewestTick) -> Accumulator:
    """Return the accumulator of a syncer that has read nothing since the newest tick."""
    interim = newest.token != newest.due_token
    return Accumulator(newest.token, newest.snapshot, None if interim else {})


@dataclass(frozen=True, slots=True)
class DueTick:
    """A tick just written. `values` changed since the due tick before, which `previous` names."""

    watermark: Watermark
    previous: tuple[int, str]
    values: Values


Cause = Literal["next", "behind", "missing", "unknown"]


@dataclass(frozen=True, slots=True)
class Publication:
    """What takes KeyDB from the watermark `observed` to `target`: absolute values only."""

    observed: ObservedWatermark
    target: Watermark
    values: Values
    removals: tuple[str, ...]
    cause: Cause


BoundaryClass = Literal["new", "repeated", "old", "ahead"]


def classify_boundary(boundary: datetime, newest: NewestTick) -> BoundaryClass:
    """Say whether a boundary is new, already written, older than the newest one, or in the future.

    A boundary in the future is refused: once written, every boundary before it would be old. If the
    newest one lies further ahead than `FALSE_AHEAD`, Postgres's clock was wrong when it was
    written: then it makes no other one old, and the caller takes it back.
    """
    if boundary == newest.due_boundary:
        return "repeated"
    if newest.due_boundary and boundary < newest.due_boundary <= newest.read_at + FALSE_AHEAD:
        return "old"
    return "ahead" if boundary > newest.read_at + AHEAD_MAX else "new"


def next_epoch(newest: NewestTick, observed: ObservedWatermark | None) -> int:
    """Return an epoch above Postgres's and KeyDB's, so that no reader sees the number go back."""
    shown = observed.watermark.epoch if observed and observed.watermark else 0
    return 1 + max(newest.epoch, shown)


def parse_watermark(
    raw_epoch: str, raw_token: str, boundary: str, applied_at_s: str = ""
) -> ObservedWatermark:
    """Return KeyDB's watermark; what is missing or malformed can still be compared."""
    is_epoch = raw_epoch.isascii() and raw_epoch.isdigit() and len(raw_epoch) <= EPOCH_DIGITS_MAX
    is_token = bool(raw_token) and raw_token.isascii() and raw_token.isprintable()  # as ours are
    watermark = Watermark(int(raw_epoch), raw_token, boundary) if is_epoch and is_token else None
    applied = float(applied_at_s) if APPLIED_AT.fullmatch(applied_at_s) else None
    return ObservedWatermark(raw_epoch, raw_token, watermark, applied)


Way = Literal["done", "wait", "changes", "everything"]


def classify_watermark(shown: Watermark | None, target: Watermark, *, ours: bool) -> Way:
    """Say what takes a KeyDB that shows `shown`, a tick of `ours` or not, to `target`.

    If it shows `target` or a later tick of ours, it needs nothing. If it shows as large an epoch of
    another database, it waits for our next tick, whose epoch is larger: epochs never go back.
    """
    if shown is None or (shown.epoch < target.epoch and not ours):
        return "everything"
    if shown.epoch < target.epoch:
        return "changes"
    return "done" if ours else "wait"


def lateness_s(observed: ObservedWatermark) -> float | None:
    """Return how long after its boundary KeyDB's watermark was applied; None if it says nothing."""
    if observed.watermark is None or observed.applied_at_s is None:
        return None
    try:
        boundary = datetime.fromisoformat(observed.watermark.boundary)
    except ValueError:
        return None
    return observed.applied_at_s - boundary.timestamp()


def rfc3339(boundary: datetime) -> str:
    """Return a time as `2026-11-20T23:42:00Z`."""
    return boundary.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
