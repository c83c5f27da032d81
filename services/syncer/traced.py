"""What the syncer does besides when it traces: a tick links to what led to its rows."""

from datetime import datetime
from typing import LiteralString

import psycopg

from services.syncer import tick_store
from services.syncer.core import rfc3339
from services.syncer.publisher import Published
from services.syncer.service import Syncer
from shared import postgres, tracing

ROWS_MAX = 10_000
"""Outbox rows looked at for their traceparent, at most."""

# Which rows a tick folded: those between the snapshot of the tick before and its own.
SELECT_SNAPSHOTS: LiteralString = """
SELECT t.snapshot::text, before.snapshot::text
  FROM tick t
 CROSS JOIN LATERAL (
       SELECT snapshot
         FROM tick
        WHERE epoch < t.epoch
          AND NOT interim
        ORDER BY epoch DESC
        LIMIT 1
       ) AS before
 WHERE t.boundary = %(boundary)s
"""
# In two statements, because only of constants does the planner see how few rows they let through.
SELECT_FOLDED: LiteralString = """
SELECT DISTINCT traceparent
  FROM (SELECT traceparent
          FROM outbox
         WHERE (   xid >= %(xmax)s::xid8
                OR xid = ANY (%(xip)s::xid8[]))
           AND pg_visible_in_snapshot(xid, %(snapshot)s::pg_snapshot)
           AND traceparent IS NOT NULL
         LIMIT %(rows_max)s) AS folded
 LIMIT %(links_max)s
"""


def tick(conn: psycopg.Connection, syncer: Syncer, boundary: datetime) -> Published:
    """Do what `syncer.tick` does, as a span that links to what the tick counted."""
    with tracing.span("tick", {"boundary": rfc3339(boundary)}) as span:
        published = syncer.tick(boundary)
        if published.current:
            tracing.link(span, traceparents(conn, boundary))
        return published


def traceparents(conn: psycopg.Connection, boundary: datetime) -> list[str]:
    """Return some of the traceparents of the rows that the tick of `boundary` folded.

    Read after the tick, so that it is no later for it. Raises `Unavailable`.
    """
    limits = {"rows_max": ROWS_MAX, "links_max": tracing.LINKS_MAX}
    with postgres.translating():
        found = conn.execute(SELECT_SNAPSHOTS, {"boundary": boundary}).fetchone()
        if found is None:
            return []
        folded = limits | tick_store.fresh_after(found[1]) | {"snapshot": found[0]}
        return [one for (one,) in conn.execute(SELECT_FOLDED, folded)]
