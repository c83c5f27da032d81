"""The SQL of decided requests: the tick that has counted each, replies, and what is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, LiteralString

import psycopg

from shared.ledger import request as ledger
from shared.ledger.request_store import COLUMNS
from shared.ledger.steady_clock import IS_STEADY

Kind = Literal["waiting", "decided"]
Place = tuple[datetime, str]
FIRST: Place = (datetime(1970, 1, 1, tzinfo=UTC), "")

SELECT_SHOWN: LiteralString = """
SELECT epoch
  FROM tick
 WHERE published_at IS NOT NULL
 ORDER BY epoch DESC
 LIMIT 1
"""
# For each Postgres transaction that stored items, the first tick that sees it is found by
# bisection: what a tick sees, every later one sees. The greatest of these has counted all of a
# request, and the first due tick from there on shows it. Where everything was counted again since
# (`xids` are forgotten then), the first tick of this cluster has counted it.
UPDATE_SHOWN: LiteralString = """
WITH RECURSIVE here AS MATERIALIZED (
    SELECT system_identifier
      FROM pg_control_system()
), decided AS MATERIALIZED (
    SELECT decided_at, id, xids
      FROM request
     WHERE decided_at IS NOT NULL
       AND xids IS NOT NULL
       AND (decided_at, id) > (%(decided_at)s::timestamptz, %(key)s)
     ORDER BY decided_at, id
     LIMIT %(most)s
), writer AS MATERIALIZED (
    SELECT DISTINCT xid
      FROM decided
     CROSS JOIN unnest(xids) AS xid
), bisection AS (
    SELECT w.xid, t.low, t.high
      FROM writer w
     CROSS JOIN (SELECT min(epoch) AS low, max(epoch) + 1 AS high
                   FROM tick) AS t
     UNION ALL
    SELECT b.xid, CASE WHEN t.sees THEN b.low ELSE t.epoch + 1 END,
           CASE WHEN t.sees THEN (b.low + b.high) / 2 ELSE b.high END
      FROM bisection b
     CROSS JOIN LATERAL (
           SELECT epoch, system_identifier = (SELECT system_identifier FROM here)
                         AND pg_visible_in_snapshot(b.xid, snapshot) AS sees
             FROM tick
            WHERE epoch >= (b.low + b.high) / 2
            ORDER BY epoch
            LIMIT 1) AS t
     WHERE b.low < b.high
), counted AS MATERIALIZED (
    SELECT xid, low AS epoch
      FROM bisection
     WHERE low >= high
), latest AS MATERIALIZED (
    SELECT d.id,
           coalesce(max(c.epoch),
                    (SELECT epoch
                       FROM tick
                      WHERE system_identifier = (SELECT system_identifier FROM here)
                      ORDER BY epoch
                      LIMIT 1)) AS epoch
      FROM decided d
      LEFT JOIN LATERAL unnest(d.xids) AS x (xid) ON true
      LEFT JOIN counted c USING (xid)
     GROUP BY d.id
), shown AS MATERIALIZED (
    SELECT l.id, due.boundary, s.published_at
      FROM latest l
     CROSS JOIN LATERAL (
           SELECT epoch, boundary
             FROM tick
            WHERE epoch >= l.epoch
              AND boundary IS NOT NULL
            ORDER BY epoch
            LIMIT 1) AS due
     CROSS JOIN LATERAL (
           SELECT published_at
             FROM tick
            WHERE epoch >= due.epoch
              AND published_at IS NOT NULL
            ORDER BY epoch
            LIMIT 1) AS s
), written AS (
    UPDATE request r
       SET counted_by = s.boundary,
           shown_at = s.published_at,
           xids = NULL,
           reply_due = CASE WHEN r.reply_to IS NOT NULL AND r.error IS NULL
                            THEN 'decided' END
      FROM shown s
     WHERE r.id = s.id
       AND r.xids IS NOT NULL
)
SELECT decided_at, id
  FROM decided
 ORDER BY decided_at, id
"""
FORGET_WRITERS: LiteralString = """
UPDATE request
   SET xids = '{}'
 WHERE xids IS NOT NULL
"""
SELECT_DUE: LiteralString = f"""
SELECT reply_due, correlation_id, coalesce(cardinality(numbers), 0), {COLUMNS}
  FROM request
 WHERE reply_due IS NOT NULL
   AND error IS NULL
 ORDER BY decided_at, id
 LIMIT %(most)s
"""  # noqa: S608 - put together from constants
UPDATE_REPLIED: LiteralString = """
UPDATE request r
   SET reply_due = NULL,
       replied_at = CASE WHEN d.due = 'decided' THEN clock_timestamp() END
  FROM unnest(%(keys)s::text[], %(due)s::text[]) AS d (key, due)
 WHERE r.id = d.key
   AND r.reply_due = d.due
"""
# A queue that is gone stays so: it was its owner's. One that is full is tried again at each tick.
UPDATE_FAILED: LiteralString = """
UPDATE request r
   SET error = f.error,
       reply_due = CASE WHEN f.error = 'refused' THEN r.reply_due END
  FROM unnest(%(keys)s::text[], %(errors)s::text[]) AS f (key, error)
 WHERE r.id = f.key
"""
TRY_AGAIN: LiteralString = """
UPDATE request
   SET error = NULL
 WHERE reply_due IS NOT NULL
   AND error = 'refused'
   AND accepted_at > now() - interval '24 hours'
"""
COUNT_OPEN: LiteralString = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(published_at)), 0)::float8
  FROM request
 WHERE decided_at IS NULL
   AND published_at IS NOT NULL
"""
PRUNE: LiteralString = f"""
DELETE FROM request
 WHERE id IN (
       SELECT id
         FROM request
        WHERE accepted_at < now() - make_interval(days => %(kept_d)s)
        ORDER BY accepted_at
        LIMIT %(most)s)
   AND {IS_STEADY}
RETURNING decided_at IS NULL
"""  # noqa: S608 - constants of ours only

STATEMENTS = (
    SELECT_SHOWN, UPDATE_SHOWN, FORGET_WRITERS, SELECT_DUE, UPDATE_REPLIED, UPDATE_FAILED,
    TRY_AGAIN, COUNT_OPEN, PRUNE,
)  # fmt: skip
"""Tried out at each connection."""


@dataclass(frozen=True, slots=True)
class Due:
    """A reply that is to be sent."""

    kind: Kind
    correlation_id: str | None
    to: str
    document: ledger.Document


def newest_shown(conn: psycopg.Connection) -> int | None:
    """Return the epoch of the newest tick that KeyDB has shown."""
    row = conn.execute(SELECT_SHOWN).fetchone()
    return row[0] if row else None


def note_shown(conn: psycopg.Connection, after: Place, most: int) -> Place | None:
    """Note of decided requests after a place which tick has counted each, where that is shown.

    Returns the place of the last one that was looked at, None if there was none.
    """
    given = {"decided_at": after[0], "key": after[1], "most": most}
    rows = conn.execute(UPDATE_SHOWN, given).fetchall()
    return rows[-1] if rows else None


def forget_writers(conn: psycopg.Connection) -> None:
    """Forget which transactions stored items: those of another cluster mean nothing here."""
    conn.execute(FORGET_WRITERS)


def due(conn: psycopg.Connection, most: int) -> list[Due]:
    """Return replies that are to be sent."""
    found = []
    for kind, correlation_id, waiting, *row in conn.execute(SELECT_DUE, {"most": most}):
        known = ledger.known(row)
        document = known.document(waiting if kind == "waiting" else 0)
        found.append(Due(kind, correlation_id, known.reply_to or "", document))
    return found


def note_replied(conn: psycopg.Connection, replies: Sequence[Due]) -> None:
    """Note that the broker has confirmed these."""
    keys, kinds = [one.document.request for one in replies], [one.kind for one in replies]
    conn.execute(UPDATE_REPLIED, {"keys": keys, "due": kinds})


def note_failed(conn: psycopg.Connection, failed: Mapping[str, str]) -> None:
    """Note why replies, by key, were not taken."""
    conn.execute(UPDATE_FAILED, {"keys": list(failed), "errors": list(failed.values())})


def try_again(conn: psycopg.Connection) -> None:
    """Have replies sent again whose queue was full."""
    conn.execute(TRY_AGAIN)


def open_requests(conn: psycopg.Connection) -> tuple[int, float]:
    """Return how many requests are published and not decided, and the oldest's age (seconds)."""
    ((count, age_s),) = conn.execute(COUNT_OPEN).fetchall()
    return count, age_s


def prune(conn: psycopg.Connection, kept_d: int, most: int) -> tuple[int, int]:
    """Remove the oldest that are past their days; return how many, and of those how many open."""
    rows = conn.execute(PRUNE, {"kept_d": kept_d, "most": most}).fetchall()
    return len(rows), sum(is_open for (is_open,) in rows)
