"""Messages that are parked until their provider comes: then they become rows, in order."""

from collections.abc import Iterator, Sequence
from typing import LiteralString

import psycopg
import structlog
from psycopg import errors

from services.ingest import core, postgres_errors, store
from services.ingest.batch_size import AdaptiveBatchSize
from shared import postgres, tracing

RELEASED_MAX = 10_000
"""Messages in one transaction, at most: well within the statement timeout."""

# Loose index scan: the distinct providers that are waited for, without reading all who wait.
SELECT_ARRIVED: LiteralString = """
WITH RECURSIVE awaited AS (
    (SELECT provider_id
       FROM dead_letter
      WHERE state = 'waiting'
      ORDER BY provider_id
      LIMIT 1)
     UNION ALL
    SELECT (SELECT d.provider_id
              FROM dead_letter d
             WHERE d.state = 'waiting'
               AND d.provider_id > a.provider_id
             ORDER BY d.provider_id
             LIMIT 1)
      FROM awaited a
     WHERE a.provider_id IS NOT NULL
)
SELECT a.provider_id
  FROM awaited a
  JOIN initial_data p ON p.id = a.provider_id
"""

# One row for each provider that is waited for: its first, which waits longest.
SELECT_OLDEST: LiteralString = """
WITH RECURSIVE awaited AS (
    (SELECT provider_id, received_at
       FROM dead_letter
      WHERE state = 'waiting'
      ORDER BY provider_id, id
      LIMIT 1)
     UNION ALL
    SELECT d.provider_id, d.received_at
      FROM awaited a
     CROSS JOIN LATERAL (
           SELECT provider_id, received_at
             FROM dead_letter
            WHERE state = 'waiting'
              AND provider_id > a.provider_id
            ORDER BY provider_id, id
            LIMIT 1) AS d
)
SELECT coalesce(extract(epoch FROM now() - min(received_at)), 0)::float8
  FROM awaited
"""

# One replica at a time releases a provider's messages, so that they keep their order.
TRY_LOCK_PROVIDER: LiteralString = """
SELECT pg_try_advisory_xact_lock(hashtextextended('minutebook:waiting:' || %(provider_id)s, 0))
"""

SELECT_PARKED: LiteralString = """
SELECT id
  FROM dead_letter
 WHERE state = 'waiting'
   AND provider_id = %(provider_id)s
   AND id > %(after)s
 ORDER BY id
 LIMIT %(most)s
"""

# Of several with one identity the first becomes the row. The traceparent is among the headers that
# were kept; without tracing the pattern is NULL, and so is what it finds.
RELEASE: LiteralString = """
WITH first AS (
    SELECT DISTINCT ON (message_id)
           id, message_id, provider_id, value,
           substring(properties #>> '{headers,traceparent}'
                FROM %(pattern)s::text) AS traceparent
      FROM dead_letter
     WHERE id = ANY (%(ids)s::bigint[])
     ORDER BY message_id, id
), stored AS (
    INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
    SELECT provider_id, value, message_id
      FROM first
     ORDER BY id
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id, provider_id, transaction_value, message_id
), rewritten AS ( -- by a trigger of the user's: see services.ingest.processed_messages
    INSERT INTO received_message (message_id, provider_id, value)
    SELECT f.message_id, f.provider_id, f.value
      FROM stored s
      JOIN first f USING (message_id)
     WHERE (s.provider_id, s.transaction_value) IS DISTINCT FROM (f.provider_id, f.value)
    ON CONFLICT DO NOTHING
), noted AS (
    INSERT INTO outbox (transaction_id, provider_id, amount, operation, traceparent)
    SELECT s.id, s.provider_id, s.transaction_value, 'added', f.traceparent
      FROM stored s
      LEFT JOIN first f USING (message_id)
)
SELECT count(*), count(f.id)
  FROM stored s
  LEFT JOIN first f USING (message_id)
"""

# By now each has a row: its own or, with the same identity, another's.
SETTLE_RELEASED: LiteralString = """
DELETE FROM dead_letter d
 USING historical_transactions h
 WHERE d.id = ANY (%(ids)s::bigint[])
   AND h.message_id = d.message_id
   AND ((h.provider_id, h.transaction_value) IS NOT DISTINCT FROM (d.provider_id, d.value)
        OR EXISTS (
           SELECT
             FROM received_message r
            WHERE r.message_id = d.message_id
              AND r.provider_id = d.provider_id
              AND r.value = d.value))
"""
SETTLE_CONFLICTING: LiteralString = """
UPDATE dead_letter d
   SET state = 'open',
       reason = 'id_conflict',
       error = 'a transaction with this identity and other content exists'
  FROM historical_transactions h
 WHERE d.id = ANY (%(ids)s::bigint[])
   AND d.state = 'waiting'
   AND h.message_id = d.message_id
"""
# A trigger of the user's, say, let no row be made.
REFUSE: LiteralString = """
UPDATE dead_letter
   SET state = 'open',
       reason = 'refused_by_database',
       error = %(error)s
 WHERE id = ANY (%(ids)s::bigint[])
   AND state = 'waiting'
"""

log = structlog.get_logger()


def release_parked(conn: psycopg.Connection, batch_size: AdaptiveBatchSize | None = None) -> int:
    """Turn all messages whose provider has come into rows, in order; returns the rows.

    `batch_size` says how many messages to a transaction. Raises `Unavailable`.
    """
    return sum(releases(conn, batch_size or AdaptiveBatchSize(RELEASED_MAX)))


def releases(conn: psycopg.Connection, batch_size: AdaptiveBatchSize) -> Iterator[int]:
    """Do the same, and yield after each transaction how many rows that made."""
    with postgres.translating():
        for (provider_id,) in conn.execute(SELECT_ARRIVED).fetchall():
            yield from _release_all(conn, provider_id, batch_size)


def oldest_s(conn: psycopg.Connection) -> float:
    """Return for how many seconds a message has waited; 0 if none does. Raises `Unavailable`."""
    with postgres.translating():
        row = conn.execute(SELECT_OLDEST).fetchone()
    return row[0] if row else 0.0


def _release_all(
    conn: psycopg.Connection, provider_id: int, batch_size: AdaptiveBatchSize
) -> Iterator[int]:
    last_id = 0
    try:
        while True:
            with conn.transaction():
                ids = _lock_next(conn, provider_id, last_id, batch_size.size)
                if not ids:
                    return
                with batch_size.storing(len(ids)), postgres.translating():
                    rows = _release_each(conn, provider_id, ids)
            if rows:
                log.info("waiting_promoted", provider_id=provider_id, rows=rows)
            last_id = ids[-1]
            yield rows
    except postgres_errors.SequenceBehind as behind:
        store.advance_sequence(conn, behind.table)  # the next round finds free ids


def _lock_next(conn: psycopg.Connection, provider_id: int, after: int, most: int) -> list[int]:
    """Return ids of parked messages, in order; none if another replica releases them."""
    given = {"provider_id": provider_id, "after": after, "most": most}
    if conn.execute(TRY_LOCK_PROVIDER, given).fetchone() != (True,):
        return []
    return [row[0] for row in conn.execute(SELECT_PARKED, given)]


def _release_each(conn: psycopg.Connection, provider_id: int, ids: Sequence[int]) -> int:
    """Release what can be released; the others are refused, or wait if it is not their fault."""
    postgres_errors.check_at_once(conn)
    failures: list[psycopg.Error] = []
    rows = 0

    def attempt(part: Sequence[int]) -> str | None:
        nonlocal rows
        try:
            with conn.transaction():  # a savepoint: one bad row must not hold back the others
                rows += _release(conn, part)
        except psycopg.Error as error:
            postgres_errors.raise_unless_bisectable(conn, error)
            if postgres_errors.provider_gone(conn, error, provider_id):
                return None  # they wait on
            failures.append(error)
            return postgres.detail(error)
        return None

    refused = core.bisect(ids, attempt)
    if refused and len(refused) == len(ids) and not all(map(postgres_errors.is_fault, failures)):
        log.error("waiting_refused_alike", sqlstates=sorted(set(map(postgres.detail, failures))))
        return 0
    for one, error in refused:
        _refuse(conn, [one], error)
    return rows


def _release(conn: psycopg.Connection, ids: Sequence[int]) -> int:
    """Turn parked messages into rows; returns how many rows that made.

    One whose identity has a row of the same content is dropped, of other content: `id_conflict`.
    """
    pattern = f"^({tracing.TRACEPARENT.pattern})$" if tracing.on() else None
    made, ours = conn.execute(RELEASE, {"ids": ids, "pattern": pattern}).fetchone() or (0, 0)
    if made != ours:
        raise errors.TriggeredActionException("a trigger changes the identity of the row")
    conn.execute(SETTLE_RELEASED, {"ids": ids})
    conn.execute(SETTLE_CONFLICTING, {"ids": ids})
    _refuse(conn, ids, "the database made no row of it")
    return int(made)


def _refuse(conn: psycopg.Connection, ids: Sequence[int], error: str) -> None:
    """Say of those that still wait that the database refuses their row."""
    conn.execute(REFUSE, {"ids": ids, "error": error})
