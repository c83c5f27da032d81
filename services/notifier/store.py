"""The SQL of notifications: what is to be sent, what became of it, and what is kept."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import LiteralString

import psycopg

from services.notifier.core import Notification
from shared.ledger.steady_clock import IS_STEADY

SELECT_NOTIFICATIONS: LiteralString = """
SELECT n.created_at, n.id, n.alert_id, a.source, a.source_id, n.condition, n.threshold::text,
       n.provider_id, b.key, n.balance::text, n.previous::text, n.boundary, n.epoch
  FROM notification n
  LEFT JOIN alert a ON a.id = n.alert_id
  LEFT JOIN LATERAL (
       SELECT key
         FROM balance
        WHERE provider_id = n.provider_id
          AND epoch <= n.epoch
        ORDER BY epoch DESC
        LIMIT 1
       ) AS b ON true
 WHERE n.sent_at IS NULL
"""
SELECT_NEW: LiteralString = (
    SELECT_NOTIFICATIONS
    + """
   AND n.error IS NULL
 ORDER BY n.created_at, n.id
 LIMIT %(most)s
"""
)
SELECT_AGAIN: LiteralString = (
    SELECT_NOTIFICATIONS
    + """
   AND n.error IS NOT NULL
   AND n.created_at > now() - interval '24 hours'
   AND (n.created_at, n.id) > (%(created_at)s::timestamptz, %(id)s)
 ORDER BY n.created_at, n.id
 LIMIT %(most)s
"""
)
UPDATE_SENT: LiteralString = """
UPDATE notification
   SET sent_at = clock_timestamp(),
       error = NULL
 WHERE id = ANY (%(ids)s)
   AND sent_at IS NULL
RETURNING extract(epoch FROM sent_at - boundary)::float8
"""
UPDATE_FAILED: LiteralString = """
UPDATE notification n
   SET error = f.error
  FROM unnest(%(ids)s::text[], %(errors)s::text[]) AS f (id, error)
 WHERE n.id = f.id
   AND n.sent_at IS NULL
   AND n.error IS DISTINCT FROM f.error
"""
COUNT_WAITING: LiteralString = """
SELECT count(*)
  FROM notification
 WHERE sent_at IS NULL
   AND error IS NOT NULL
   AND created_at > now() - interval '24 hours'
"""
PRUNE: LiteralString = f"""
DELETE FROM notification
 WHERE id IN (
       SELECT id
         FROM notification
        WHERE created_at < now() - make_interval(days => %(kept_d)s)
        ORDER BY created_at
        LIMIT %(most)s)
   AND {IS_STEADY}
"""  # noqa: S608 - constants of ours only

Place = tuple[datetime, str]
"""Where a notification stands among all: `created_at` and `id`."""
FIRST: Place = (datetime(1970, 1, 1, tzinfo=UTC), "")

STATEMENTS = (SELECT_NEW, SELECT_AGAIN, UPDATE_SENT, UPDATE_FAILED, COUNT_WAITING, PRUNE)
"""Tried out at each connection."""


def new(conn: psycopg.Connection, most: int) -> list[Notification]:
    """Return the oldest that were never tried."""
    return [Notification(*row[1:]) for row in conn.execute(SELECT_NEW, {"most": most})]


def again(conn: psycopg.Connection, after: Place, most: int) -> tuple[list[Notification], Place]:
    """Return the next after a place of those that no queue took, and where the last one stands.

    That is `FIRST` if there are no more.
    """
    given = {"created_at": after[0], "id": after[1], "most": most}
    rows = conn.execute(SELECT_AGAIN, given).fetchall()
    return [Notification(*row[1:]) for row in rows], rows[-1][:2] if len(rows) == most else FIRST


def note_sent(conn: psycopg.Connection, ids: Sequence[str]) -> list[float]:
    """Note that the broker has confirmed these; return how late each was (seconds)."""
    rows = conn.execute(UPDATE_SENT, {"ids": list(ids)}).fetchall()
    return [late_s for (late_s,) in rows if late_s is not None]


def note_failed(conn: psycopg.Connection, failed: Mapping[str, str]) -> None:
    """Note why each of these was not taken by a queue."""
    conn.execute(UPDATE_FAILED, {"ids": list(failed), "errors": list(failed.values())})


def waiting(conn: psycopg.Connection) -> int:
    """Return how many no queue took that are tried again."""
    ((found,),) = conn.execute(COUNT_WAITING).fetchall()
    return int(found)


def prune(conn: psycopg.Connection, kept_d: int, most: int) -> int:
    """Remove the oldest of those that are past their days; return how many."""
    return conn.execute(PRUNE, {"kept_d": kept_d, "most": most}).rowcount
