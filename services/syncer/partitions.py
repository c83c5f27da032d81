"""The outbox's partitions: which are made ahead, and which have expired, by age or by size.

Whether all of an expired one is counted is seen to by the drop itself, under its locks
(migrations/0004): what is not counted stays, however old or large.
"""

import math
from dataclasses import dataclass
from typing import LiteralString

import psycopg

AHEAD_H = 5
"""So many hours ahead, and two intervals, no hour is without a partition."""
SPAN_H, SPAN_SIZED_H, PARTITIONS_KEPT_MAX = 4, 1, 24
"""A partition takes four hours, or one where the size is limited, since only whole ones go; more
where more than 24 would be kept: each fold reads each."""
ENDED_S = 600
"""None is dropped for its size until it ended so long ago: a transaction that began before that
still writes to it."""

MAKE_PARTITION: LiteralString = """
SELECT minutebook_make_partition(
       now() + make_interval(hours => %(ahead_h)s), make_interval(hours => %(span_h)s))
"""
# Those that somebody attached under another name are theirs: they count for the size, and stay. So
# do the default partition, which has no end, and what ends at infinity, from which nothing can be
# subtracted.
SELECT_EXPIRED: LiteralString = r"""
WITH part AS (
    SELECT c.relname AS name, c.relname ~ '^outbox_[0-9]{8}_[0-9]{2}(_[0-9]+)?$' AS ours,
           nullif(substring(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(.+)''\)')::timestamptz,
                  'infinity') AS ends,
           pg_total_relation_size(c.oid) AS bytes
      FROM pg_inherits i
      JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'outbox'::regclass
), aged AS (
    SELECT *, now() - make_interval(hours => %(outbox_h)s) - ends AS since,
           sum(bytes) OVER (ORDER BY ours, ends DESC) AS bytes_from_here_on
      FROM part
)
SELECT name, extract(epoch FROM since)::float8
  FROM aged
 WHERE ours
   AND (since > interval '0'
        OR bytes_from_here_on > %(outbox_bytes)s::float8
           AND ends < now() - make_interval(secs => %(ended_s)s))
 ORDER BY since DESC
"""
DROP_PARTITION: LiteralString = "SELECT minutebook_drop_partition(%(name)s)"


@dataclass(frozen=True, slots=True)
class Kept:
    """How much is kept: counted outbox rows for hours and up to bytes, history for days."""

    outbox_h: int
    history_d: int
    outbox_bytes: float = math.inf

    @property
    def span_h(self) -> int:
        """How many hours a partition takes, so that no more than some are kept."""
        least = SPAN_H if math.isinf(self.outbox_bytes) else SPAN_SIZED_H
        return least * math.ceil(self.outbox_h / (least * PARTITIONS_KEPT_MAX))


def ahead(kept: Kept, interval_s: float) -> list[dict[str, int]]:
    """Return what to make, so that no hour is without one until after the next two ticks."""
    hours = range(AHEAD_H + 2 * int(interval_s // 3600))
    return [{"ahead_h": hour, "span_h": kept.span_h} for hour in hours]


def expired(conn: psycopg.Connection, kept: Kept) -> list[tuple[str, float]]:
    """Return which are to be dropped, the oldest first, and for how many seconds they are too old.

    That is negative where there is only too much of them.
    """
    given = {"outbox_h": kept.outbox_h, "outbox_bytes": kept.outbox_bytes, "ended_s": ENDED_S}
    return conn.execute(SELECT_EXPIRED, given).fetchall()
