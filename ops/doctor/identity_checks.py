"""Postgres: whether the index that knows each identity still fits the buffers.

With random identities each message touches a random page of it. Once the index is larger than the
buffers, ingest waits for reads, and each page is written to the WAL again.
"""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

from ops.doctor import core
from ops.doctor.core import Check

HIT_RATE_MIN = 0.98
"""A message looks at some six pages, of which only one can be far away. With random
identities the rate falls below this when the index is about twice the buffers; with time-ordered
ones it does not."""
LOOKUPS_MIN = 100_000
"""Of fewer pages looked at, the rate says nothing yet."""

SELECT_INDEX: LiteralString = """
SELECT s.indexrelname, pg_relation_size(s.indexrelid),
       (SELECT setting::bigint * current_setting('block_size')::bigint
          FROM pg_settings
         WHERE name = 'shared_buffers'),
       s.idx_blks_hit, s.idx_blks_read
  FROM pg_index i
  JOIN pg_statio_user_indexes s ON s.indexrelid = i.indexrelid
 WHERE i.indrelid = 'historical_transactions'::regclass
   AND i.indisunique
   AND pg_get_indexdef(i.indexrelid) LIKE '%message_id%'
 ORDER BY pg_relation_size(s.indexrelid) DESC
 LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Index:
    """The index of identities, and how often its pages were in the buffers or were read."""

    name: str
    index_bytes: int
    buffers_bytes: int
    hits: int
    reads: int


def inspect(conn: psycopg.Connection) -> Check:
    """Look at the index, and assess; since when pages are counted only Postgres knows."""
    row = conn.execute(SELECT_INDEX).fetchone()
    return assess(Index(*row) if row else None)


def assess(index: Index | None) -> Check:
    """Assess the index of identities; None where there is none, which is another check's matter."""
    if index is None:
        return core.check("postgres", "identities' index", "none", advice="")
    looked_at = index.hits + index.reads
    rate = index.hits / looked_at if looked_at else 1.0
    return core.check(
        "postgres",
        "identities' index",
        f"{_megabytes(index.index_bytes)}, shared_buffers {_megabytes(index.buffers_bytes)},"
        f" {rate:.1%} of its pages found there",
        warn=index.index_bytes > index.buffers_bytes
        and looked_at >= LOOKUPS_MIN
        and rate < HIT_RATE_MIN,
        advice="have producers send time-ordered identities (UUIDv7, a growing number) instead of"
        " random ones, or raise shared_buffers: a page of the index is read for many a message."
        " Counted since pg_stat_reset_single_table_counters("
        f"'{index.name}'::regclass) was last called, or since the beginning",
    )


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"
