"""What the syncer counts. Lateness is KeyDB's clock against the boundary.

A gauge of what this syncer does not know (now) is NaN, which no alert takes for a value: of several
syncers only the one at work looks after the outbox and reconciles.
"""

import math
import time
from dataclasses import dataclass
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from services.syncer.core import Cause
from shared.tick import LATENESS_BUCKETS_S

Task = Literal["make_partitions", "drop_partitions", "prune_history", "prune_messages", "measure"]
"""What upkeep does; the three in the middle remove what is kept no longer."""
REMOVING: tuple[Task, ...] = ("drop_partitions", "prune_history", "prune_messages")

LATENESS = Histogram(
    "minutebook_tick_lateness_seconds",
    "From the boundary to the watermark in KeyDB, by KeyDB's clock; ticks published in turn.",
    buckets=LATENESS_BUCKETS_S,
)
FOLD_SECONDS = Histogram("minutebook_fold_seconds", "Reading the outbox between ticks.")
FOLDED_ROWS = Counter("minutebook_folded_rows_total", "Outbox rows added up in memory.")
OLDEST_UNFOLDED = Gauge(
    "minutebook_oldest_unfolded_seconds",
    "Age of the oldest outbox row that was read and that no tick has counted yet.",
)
WATERMARK_AGE = Gauge(
    "minutebook_watermark_age_seconds",
    "AgeGauge the boundary that KeyDB was last seen to show; at least: since the start.",
)
FENCED = Counter("minutebook_fenced_writes_total", "Publications that KeyDB's watermark refused.")
REPUBLISHED = Counter(
    "minutebook_republished_total", "Publications of more than one tick's changes.", ["cause"]
)
for _cause in get_args(Cause):
    if _cause != "next":
        REPUBLISHED.labels(_cause)
REPEATED = Counter(
    "minutebook_repeated_publications_total",
    "Publications that KeyDB had already: a reply was lost, or another syncer was quicker.",
)
BASELINES = Counter(
    "minutebook_baselines_total", "Times that all was counted anew: the cluster was another."
)
FAILOVERS = Counter(
    "minutebook_failovers_total", "Times that Postgres came back on another timeline or cluster."
)
FALSE_BOUNDARIES = Counter(
    "minutebook_false_boundaries_total", "Boundaries taken back: a clock had been ahead."
)
REFUSED_BOUNDARIES = Counter(
    "minutebook_refused_boundaries_total", "Ticks too far in Postgres's future."
)
DEFAULT_PARTITION_ROWS = Gauge(
    "minutebook_default_partition_rows",
    "Outbox rows that no partition was made for in time; NaN where another syncer is at work.",
)
RETENTION_FAILURES = Counter(
    "minutebook_retention_failures_total", "Rounds of upkeep in which a task failed.", ["task"]
)
for _task in get_args(Task):
    RETENTION_FAILURES.labels(_task)
RETENTION_OVERDUE = Gauge(
    "minutebook_retention_overdue_seconds",
    "For how long the oldest of what is kept should have been removed, 0 if nothing; NaN where"
    " another syncer is at work.",
    ["task"],
)
TICK_FAILURES = Counter(
    "minutebook_tick_failures_total", "Ticks that Postgres did not let us write; tried again."
)
DRIFT_PROVIDERS = Gauge(
    "minutebook_drift_providers",
    "Providers on which the last reconciliation found no agreement; NaN before the first one, and"
    " where another syncer is at work.",
)
RECONCILIATIONS = Counter(
    "minutebook_reconciliations_total", "Reconciliations: clean, drift or failed.", ["outcome"]
)
for _outcome in ("clean", "drift", "failed"):
    RECONCILIATIONS.labels(_outcome)
RECONCILE_SECONDS = Histogram(
    "minutebook_reconcile_seconds",
    "Duration of a reconciliation.",
    buckets=(0.05, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 180, 900),
)


@dataclass
class AgeGauge:
    """What goes on ageing between two reports."""

    began: float | None
    """By the monotonic clock; None: there is nothing, and its age is 0; NaN: nothing is known."""
    name: str = ""

    def age_s(self) -> float:
        """Return the age now."""
        return 0.0 if self.began is None else time.monotonic() - self.began


_oldest = AgeGauge(math.nan)
_watermark = AgeGauge(time.monotonic())
OLDEST_UNFOLDED.set_function(_oldest.age_s)
WATERMARK_AGE.set_function(_watermark.age_s)


def folded(rows: int, age_s: float, duration_s: float) -> None:
    """Note one read of the outbox; `age_s` is that of the oldest of its rows."""
    FOLD_SECONDS.observe(duration_s)
    FOLDED_ROWS.inc(rows)
    born = time.monotonic() - age_s
    if rows and (_oldest.began is None or born < _oldest.began):
        _oldest.began = born


def counted() -> None:
    """Note that what was read until now is in a tick, or will be read again."""
    _oldest.began = None


def forgotten() -> None:
    """Note that nothing is known of the outbox any more: the connection is gone."""
    _oldest.began = math.nan


def standing_by() -> None:
    """Note that another syncer is at work: what it finds out is not known here."""
    DEFAULT_PARTITION_ROWS.set(math.nan)
    DRIFT_PROVIDERS.set(math.nan)
    for task in REMOVING:
        RETENTION_OVERDUE.labels(task).set(math.nan)


def overdue(task: Task, age_s: float) -> None:
    """Note by how much the oldest of what `task` removes is older than it should become."""
    RETENTION_OVERDUE.labels(task).set(max(0.0, age_s))


def published(boundary: str, cause: Cause, lateness_s: float) -> None:
    """Note one publication; only one that came in turn says how late a tick is."""
    seen(boundary, lateness_s)
    if cause == "next":
        LATENESS.observe(lateness_s)
    else:
        REPUBLISHED.labels(cause).inc()


def seen(boundary: str, lateness_s: float) -> bool:
    """Note that KeyDB shows `boundary`, applied so late: its age counts from the first sight.

    Returns whether it is another one than before.
    """
    if boundary == _watermark.name:
        return False
    _watermark.name, _watermark.began = boundary, time.monotonic() - lateness_s
    return True


def reconciled(drifting: int, duration_s: float) -> None:
    """Note one reconciliation that came to an end."""
    DRIFT_PROVIDERS.set(drifting)
    RECONCILIATIONS.labels("drift" if drifting else "clean").inc()
    RECONCILE_SECONDS.observe(duration_s)


standing_by()  # at first, nobody has looked
