"""How large the database is, how fast it grows, and when the disk is full at that rate.

How much of its disk is free Postgres tells nobody. So the disk's size is a setting, and what is
compared with it is the database alone, without the WAL. The rate is that of the last six hours at
most: from the oldest point noted in that time until now.
"""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

WINDOW_H, APART_S_MIN, NOTED_EVERY_S = 6, 1800, 600
"""Partitions of four hours make the size a saw blade: a shorter window would see one slope of it.
Between two points that are closer than half an hour nothing is said."""
HOUR_S = 3600

NOTE: LiteralString = """
WITH gone AS (
    DELETE FROM disk_usage
     WHERE measured_at NOT BETWEEN now() - make_interval(hours => %(window_h)s) AND now()
)
INSERT INTO disk_usage (database_bytes)
SELECT pg_database_size(current_database())
 WHERE NOT EXISTS (SELECT FROM disk_usage
                    WHERE measured_at BETWEEN now() - make_interval(secs => %(every_s)s) AND now())
    ON CONFLICT DO NOTHING
"""
SELECT_USAGE: LiteralString = """
SELECT pg_database_size(current_database()),
       (SELECT sum(pg_total_relation_size(inhrelid))
          FROM pg_inherits
         WHERE inhparent = 'outbox'::regclass)::bigint,
       extract(epoch FROM now() - oldest.measured_at)::float8, oldest.database_bytes
  FROM (VALUES (1)) AS one
  LEFT JOIN LATERAL (
       SELECT measured_at, database_bytes
         FROM disk_usage
        WHERE measured_at BETWEEN now() - make_interval(hours => %(window_h)s) AND now()
        ORDER BY measured_at
        LIMIT 1) AS oldest ON true
"""


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Bytes now; what is not known is None. `full_in_s` is also None if nothing grows."""

    database_bytes: int
    outbox_bytes: int
    disk_bytes: float | None
    growth_bytes_per_h: float | None
    full_in_s: float | None


def note(conn: psycopg.Connection) -> None:
    """Note the size, if that is due, and forget what was noted before the window. Never commits."""
    conn.execute(NOTE, {"window_h": WINDOW_H, "every_s": NOTED_EVERY_S})


def read(conn: psycopg.Connection, disk_bytes: float | None) -> DiskUsage:
    """Return what is used now of a disk of `disk_bytes`, and how fast that grows."""
    row = conn.execute(SELECT_USAGE, {"window_h": WINDOW_H}).fetchone()
    if row is None:
        raise LookupError(SELECT_USAGE)
    database_bytes, outbox_bytes, since_s, then_bytes = row
    growth = None
    if since_s is not None and since_s >= APART_S_MIN:
        growth = (database_bytes - then_bytes) / since_s * HOUR_S
    full_in_s = _full_in_s(disk_bytes, database_bytes, growth)
    return DiskUsage(database_bytes, outbox_bytes, disk_bytes, growth, full_in_s)


def _full_in_s(disk_bytes: float | None, used_bytes: int, growth: float | None) -> float | None:
    if disk_bytes is None:
        return None
    if used_bytes >= disk_bytes:
        return 0.0
    return (disk_bytes - used_bytes) / growth * HOUR_S if growth and growth > 0 else None
