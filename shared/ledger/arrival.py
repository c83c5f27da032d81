"""The rows of `historical_transactions` that came in a time, found without an index for it.

Ids grow as rows come. So the first id of a time is found by bisection over the primary key, and an
index on the time of arrival, which would cost ingest something for each row, is not needed. Rows
whose ids were loaded out of order may be missed.
"""

from datetime import datetime, timedelta
from typing import LiteralString

import psycopg

SLACK = timedelta(hours=1)
"""A row comes when its transaction began: its id may be so much younger than its time, or older."""

LATE_TICKS = 10
"""A row that came before a tick and committed after it is looked for in so many ticks after it."""

SELECT_FIRST_ID: LiteralString = """
WITH RECURSIVE bisection AS (
    SELECT min(id)::numeric AS low, max(id)::numeric + 1 AS high
      FROM historical_transactions
     UNION ALL
    SELECT CASE WHEN t.since THEN b.low ELSE t.id + 1 END,
           CASE WHEN t.since THEN div(b.low + b.high, 2) ELSE b.high END
      FROM bisection b
     CROSS JOIN LATERAL (
           SELECT id, coalesce(created_at >= %(at)s, false) AS since
             FROM historical_transactions
            WHERE id >= div(b.low + b.high, 2)::bigint
            ORDER BY id
            LIMIT 1
           ) AS t
     WHERE b.low < b.high
)
SELECT low::text
  FROM bisection
 WHERE low >= high
 LIMIT 1
"""

SELECT_ARRIVED: LiteralString = """
SELECT created_at, 'added', transaction_value::text, id, message_id, NULL
  FROM historical_transactions
 WHERE id >= %(first_id)s
   AND id < %(last_id)s
   AND created_at > %(after)s
   AND created_at <= %(until)s
   AND provider_id = %(provider_id)s
   AND id <> ALL (%(late)s::bigint[])
 ORDER BY created_at, id
"""
# What came until a tick and is counted by a later one: it is a line of that tick, and no other.
SELECT_LATE: LiteralString = """
SELECT transaction_id
  FROM outbox
 WHERE (xid >= pg_snapshot_xmax(%(snapshot)s::pg_snapshot)
        OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(snapshot)s::pg_snapshot))))
   AND xid < coalesce((SELECT pg_snapshot_xmax(snapshot)
                         FROM tick
                        WHERE epoch > %(epoch)s
                        ORDER BY epoch
                       OFFSET %(ticks)s - 1
                        LIMIT 1),
                      pg_snapshot_xmax(pg_current_snapshot()))
   AND created_at <= %(until)s
   AND provider_id = %(provider_id)s
   AND operation = 'added'
   AND transaction_id IS NOT NULL
"""


def between(conn: psycopg.Connection, after: datetime, until: datetime) -> dict[str, object]:
    """Return the parameters of `SELECT_ARRIVED` for the rows that came in (after, until].

    Raises psycopg's errors as they are.
    """
    return {
        "after": after,
        "until": until,
        "first_id": _first_id(conn, after - SLACK),
        "last_id": _first_id(conn, until + SLACK),
    }


def _first_id(conn: psycopg.Connection, at: datetime) -> int:
    row = conn.execute(SELECT_FIRST_ID, {"at": at}).fetchone()
    return int(row[0]) if row else 0
