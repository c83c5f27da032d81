"""What the syncer counts. Lateness is KeyDB's clock against the boundary.

A gauge of what this syncer does not know (now) is NaN, which no alert takes for a value: of several
syncers only the one at work looks after the outbox.
"""

import math
import time
from collections.abc import Iterable
from typing import Literal, get_args

from prometheus_client import Counter, Gauge, Histogram

from services.syncer.core import Cause
from shared.tick import LATENESS_BUCKETS_S

Task = Literal["make_partitions", "drop_partitions", "prune_history", "prune_messages", "measure"]
"""What retention does; the three in the middle remove what is kept no longer."""
REMOVING: tuple[Task, ...] = ("drop_partitions", "prune_history", "prune_messages")


class AgeGauge:
    """A gauge of an age, which goes on growing between two reports."""

    def __init__(self, name: str, about: str, began: float) -> None:
        """`began` is by the monotonic clock: None where there is nothing, NaN if it is unknown."""
        self.began: float | None = began
        self.boundary = ""
        Gauge(name, about).set_function(self.age_s)

    def age_s(self) -> float:
        """Return the age now, 0 of nothing."""
        return 0.0 if self.began is None else time.monotonic() - self.began


def _labelled(name: str, about: str, label: str, values: Iterable[str]) -> Counter:
    """Make a counter that shows each value of its label from the start, as 0."""
    counter = Counter(name, about, [label])
    for value in values:
        counter.labels(value)
    return counter


LATENESS = Histogram(
    "minutebook_tick_lateness_seconds",
    "From the boundary to the watermark in KeyDB, by KeyDB's clock; ticks published in turn.",
    buckets=LATENESS_BUCKETS_S,
)
FOLD_SECONDS = Histogram("minutebook_fold_seconds", "Reading the outbox between ticks.")
FOLDED_ROWS = Counter("minutebook_folded_rows_total", "Outbox rows added up in memory.")
OLDEST_UNFOLDED = AgeGauge(
    "minutebook_oldest_unfolded_seconds",
    "Age of the oldest outbox row that was read and that no tick has counted yet.",
    math.nan,
)
WATERMARK_AGE = AgeGauge(
    "minutebook_watermark_age_seconds",
    "Since the boundary that KeyDB was last seen to show; at least: since the start.",
    time.monotonic(),
)
FENCED = Counter("minutebook_fenced_writes_total", "Publications that KeyDB's watermark refused.")
REPUBLISHED = _labelled(
    "minutebook_republished_total",
    "Publications of more than one tick's changes.",
    "cause",
    set(get_args(Cause)) - {"next"},
)
REPEATED = Counter(
    "minutebook_repeated_publications_total", "Publications that KeyDB turned out to have already."
)
BASELINES = Counter("minutebook_baselines_total", "Times that everything was counted again.")
FAILOVERS = Counter("minutebook_failovers_total", "Times that Postgres was on another timeline.")
FALSE_BOUNDARIES = Counter("minutebook_false_boundaries_total", "Boundaries taken back.")
REFUSED_BOUNDARIES = Counter("minutebook_refused_boundaries_total", "Ticks too far in the future.")
TICK_FAILURES = Counter("minutebook_tick_failures_total", "Ticks that Postgres did not let write.")
DEFAULT_PARTITION_ROWS = Gauge(
    "minutebook_default_partition_rows", "Outbox rows that no partition was made for in time."
)
RETENTION_FAILURES = _labelled(
    "minutebook_retention_failures_total",
    "Rounds of retention in which a task failed.",
    "task",
    get_args(Task),
)
RETENTION_OVERDUE = Gauge(
    "minutebook_retention_overdue_seconds",
    "For how long the oldest of what is kept should have been removed, 0 if nothing.",
    ["task"],
)

DATABASE_BYTES = Gauge(
    "minutebook_postgres_database_bytes", "Size of the database, without the WAL."
)
OUTBOX_BYTES = Gauge("minutebook_outbox_bytes", "Size of the outbox with its indexes, all of it.")
DISK_FULL_S = Gauge(
    "minutebook_postgres_disk_full_seconds",
    "Until the database is as large as POSTGRES_DISK_GB at the rate of the last hours; NaN where"
    " that is not set, the rate is not known yet, or nothing grows.",
)


def folded(rows: int, age_s: float, duration_s: float) -> None:
    """Note one read of the outbox; `age_s` is that of the oldest of its rows."""
    FOLD_SECONDS.observe(duration_s)
    FOLDED_ROWS.inc(rows)
    began, oldest = time.monotonic() - age_s, OLDEST_UNFOLDED.began
    if rows and (oldest is None or began < oldest):
        OLDEST_UNFOLDED.began = began


def shown(boundary: str, lateness_s: float) -> bool:
    """Note that KeyDB shows `boundary`, applied so late; its age counts from the first such note.

    Returns whether it is another boundary than before.
    """
    if boundary == WATERMARK_AGE.boundary:
        return False
    WATERMARK_AGE.boundary, WATERMARK_AGE.began = boundary, time.monotonic() - lateness_s
    return True


def standing_by() -> None:
    """Note that another syncer is at work: what it finds out is not known here."""
    for gauge in (DEFAULT_PARTITION_ROWS, DATABASE_BYTES, OUTBOX_BYTES, DISK_FULL_S):
        gauge.set(math.nan)
    for task in REMOVING:
        RETENTION_OVERDUE.labels(task).set(math.nan)


standing_by()  # at first, nobody has looked
