"""The SQL of open requests: what became of their items, and writing down what is decided."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString

import msgspec
import psycopg

from services.tracker.core import Change, OpenRequest
from shared.ledger.request import ItemError, Outcome
from shared.ledger.request_store import ERRORS, ITEMS

OPTIONS = (
    # As of the syncer: plans do not depend on how the tables looked earlier.
    "-c plan_cache_mode=force_custom_plan -c enable_seqscan=off"
    # A million open items are looked at in one Postgres transaction.
    " -c statement_timeout=5min -c idle_in_transaction_session_timeout=30s"
    " -c max_parallel_workers_per_gather=0"
    " -c work_mem=64MB"
)
REQUESTS_MAX, ITEMS_MAX = 1000, 50_000
"""Looked at in one statement; more items only if one request alone has them."""

Place = tuple[datetime, str]
"""Where an open request stands among all: `published_at` and key."""

# The transaction that wrote a row is `writer`, unless it did so within a savepoint: then the one
# around it began shortly before, and has the row in the outbox.
SELECT_OPEN: LiteralString = (
    """
WITH asked AS MATERIALIZED (
    SELECT *
      FROM (SELECT *, sum(items) OVER (ORDER BY published_at, id) - items AS before
              FROM (SELECT *
                      FROM request
                     WHERE decided_at IS NULL
                       AND published_at IS NOT NULL
                       AND (published_at, id) > (%(published_at)s::timestamptz, %(key)s)
                     ORDER BY published_at, id
                     LIMIT %(requests)s) AS next) AS numbered
     WHERE before < %(items)s
), """  # noqa: S608 - put together from constants
    + ITEMS
    + """, writer AS MATERIALIZED (
    SELECT writer, min(row_id) AS row_id
      FROM item
     WHERE stored
     GROUP BY writer
), noted AS MATERIALIZED (
    SELECT w.writer, coalesce(own.xid, around.xid, w.writer) AS xid
      FROM writer w
      LEFT JOIN LATERAL (
           SELECT xid
             FROM outbox
            WHERE xid = w.writer
            LIMIT 1
           ) AS own ON true
      LEFT JOIN LATERAL (
           SELECT xid
             FROM outbox
            WHERE own.xid IS NULL
              AND xid < w.writer
              AND xid >= greatest(w.writer::text::bigint - 10000, 0)::text::xid8
              AND transaction_id = w.row_id
              AND operation = 'added'
            ORDER BY xid DESC
            LIMIT 1
           ) AS around ON true
), found AS MATERIALIZED (
    SELECT id, count(*) AS open, count(*) FILTER (WHERE stored) AS stored,
           count(*) FILTER (WHERE waiting) AS waiting,
           """
    + ERRORS
    + """ AS errors,
           array_agg(DISTINCT xid::text) FILTER (WHERE stored) AS xids,
           array_agg(number ORDER BY number) FILTER (WHERE NOT stored AND reason IS NULL)
           AS undecided
      FROM item
      LEFT JOIN noted USING (writer)
     GROUP BY id
)
SELECT a.published_at, a.id, f.open, a.state, a.outcome, a.waiting_since IS NOT NULL, f.stored,
       f.waiting, f.errors, f.xids, f.undecided
  FROM asked a
  JOIN found f USING (id)
 ORDER BY a.published_at, a.id
"""
)
SELECT_SINCE: LiteralString = "SELECT clock_timestamp() - make_interval(secs => %(age_s)s)"

CHANGES: LiteralString = """
WITH change AS MATERIALIZED (
    SELECT *
      FROM jsonb_to_recordset(%(changes)s::jsonb)
           AS c (id text, open integer, state text, outcome jsonb, xids text[],
                 undecided integer[], waiting boolean)
)
"""
# Without a stored item no tick counts it, and the reply is due at once. That an earlier reply was
# not taken says nothing of this one.
UPDATE_DECIDED: LiteralString = (
    CHANGES
    + """
UPDATE request r
   SET decided_at = clock_timestamp(),
       state = c.state,
       outcome = c.outcome,
       xids = CASE WHEN (c.outcome ->> 'stored')::integer > 0
                   THEN coalesce(r.xids, '{}') || c.xids::xid8[] END,
       reply_due = CASE WHEN (c.outcome ->> 'stored')::integer = 0
                         AND r.reply_to IS NOT NULL
                         AND r.error IS DISTINCT FROM 'not_a_reply_queue'
                        THEN 'decided' END,
       error = CASE WHEN r.error = 'not_a_reply_queue' THEN r.error END,
       numbers = NULL, provider_ids = NULL, "values" = NULL, message_ids = NULL,
       bodies_sha256 = NULL
  FROM change c
 WHERE r.id = c.id
   AND r.decided_at IS NULL
   AND cardinality(r.numbers) = c.open
RETURNING r.state, extract(epoch FROM r.decided_at - r.accepted_at)::float8
"""
)
UPDATE_OPEN: LiteralString = (
    CHANGES  # noqa: S608 - put together from constants
    + """, kept AS MATERIALIZED (
    SELECT c.*, k.*
      FROM change c
      JOIN request r USING (id)
     CROSS JOIN LATERAL (
           SELECT array_agg(number ORDER BY number) AS numbers,
                  array_agg(provider_id ORDER BY number) AS provider_ids,
                  array_agg(value ORDER BY number) AS values,
                  array_agg(message_id ORDER BY number) AS message_ids,
                  array_agg(body_sha256 ORDER BY number) AS bodies_sha256
             FROM unnest(r.numbers, r.provider_ids, r."values", r.message_ids, r.bodies_sha256)
                  AS i (number, provider_id, value, message_id, body_sha256)
             JOIN unnest(c.undecided) AS u (number) USING (number)
           ) AS k
)
UPDATE request r
   SET state = k.state,
       outcome = k.outcome,
       xids = coalesce(r.xids, '{}') || k.xids::xid8[],
       waiting_since = CASE WHEN k.waiting THEN clock_timestamp() ELSE r.waiting_since END,
       reply_due = CASE WHEN k.waiting AND r.reply_to IS NOT NULL AND r.error IS NULL
                        THEN 'waiting' ELSE r.reply_due END,
       numbers = k.numbers, provider_ids = k.provider_ids, "values" = k.values,
       message_ids = k.message_ids, bodies_sha256 = k.bodies_sha256
  FROM kept k
 WHERE r.id = k.id
   AND r.decided_at IS NULL
   AND cardinality(r.numbers) = k.open
"""
)
UPDATE_RUNNING: LiteralString = """
UPDATE request
   SET state = 'running'
 WHERE id = ANY (%(keys)s)
   AND state = 'pending'
"""

STATEMENTS = (SELECT_OPEN, UPDATE_DECIDED, UPDATE_OPEN, UPDATE_RUNNING)
"""Tried out at each connection."""


def since(conn: psycopg.Connection, age_s: float) -> Place:
    """Return the place of requests that were published so long ago."""
    ((found,),) = conn.execute(SELECT_SINCE, {"age_s": age_s}).fetchall()
    return found, ""


def inspect(
    conn: psycopg.Connection, after: Place, requests: int = REQUESTS_MAX, items: int = ITEMS_MAX
) -> tuple[list[OpenRequest], Place | None]:
    """Look at the next open requests after a place; return the place of the last one, if any."""
    given = {"published_at": after[0], "key": after[1], "requests": requests, "items": items}
    rows = conn.execute(SELECT_OPEN, given).fetchall()
    return [_open_request(row[1:]) for row in rows], rows[-1][:2] if rows else None


def _open_request(row: Sequence[Any]) -> OpenRequest:
    key, number, state, outcome, told, stored, waiting, errors, xids, undecided = row
    return OpenRequest(
        key,
        number,
        state,
        msgspec.convert(outcome or {}, Outcome),
        told,
        stored,
        waiting,
        msgspec.convert(errors or [], tuple[ItemError, ...]),
        tuple(xids or ()),
        tuple(undecided or ()),
    )


def write(conn: psycopg.Connection, changes: Sequence[Change]) -> list[tuple[str, float]]:
    """Write what is decided; return state and seconds of each request that now is.

    What somebody else has changed since it was looked at is left alone.
    """
    decided = [one for one in changes if not one.undecided]
    rest = [one for one in changes if one.undecided]
    if rest:
        conn.execute(UPDATE_OPEN, {"changes": _json(rest)})
    return conn.execute(UPDATE_DECIDED, {"changes": _json(decided)}).fetchall() if decided else []


def note_running(conn: psycopg.Connection, keys: Sequence[str]) -> None:
    """Note that something is known of these."""
    conn.execute(UPDATE_RUNNING, {"keys": list(keys)})


def _json(changes: Sequence[Change]) -> str:
    return msgspec.json.encode(changes).decode()
