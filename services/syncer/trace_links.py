"""What a tick links to when it is traced: the producers of the rows that it counted."""

from datetime import datetime
from typing import LiteralString

import psycopg

from shared import postgres, tracing

ROWS_MAX = 10_000
"""Outbox rows looked at for their traceparent, at most."""

# A tick counted the rows between the snapshot of the tick before and its own. The range of xids
# ends only so that the planner expects few rows.
SELECT_TRACEPARENTS: LiteralString = """
WITH span AS MATERIALIZED (
    SELECT t.snapshot AS last,
           (SELECT snapshot
              FROM tick
             WHERE epoch < t.epoch
               AND NOT interim
             ORDER BY epoch DESC
             LIMIT 1) AS first
      FROM tick t
     WHERE t.boundary = %(boundary)s
)
SELECT DISTINCT traceparent
  FROM (SELECT traceparent
          FROM outbox
         WHERE (   xid >= pg_snapshot_xmax((SELECT first FROM span))
               AND xid < pg_snapshot_xmax((SELECT last FROM span))
                OR xid = ANY (ARRAY(SELECT pg_snapshot_xip((SELECT first FROM span)))))
           AND pg_visible_in_snapshot(xid, (SELECT last FROM span))
           AND traceparent IS NOT NULL
         LIMIT %(rows_max)s) AS counted
 LIMIT %(links_max)s
"""


def traceparents(conn: psycopg.Connection, boundary: datetime) -> list[str]:
    """Return some of the traceparents of the rows that the tick of `boundary` counted.

    Read after the tick, so that it is no later for it. Raises `Unavailable`.
    """
    limits = {"rows_max": ROWS_MAX, "links_max": tracing.LINKS_MAX}
    with postgres.translating():
        rows = conn.execute(SELECT_TRACEPARENTS, {"boundary": boundary} | limits)
        return [traceparent for (traceparent,) in rows]
