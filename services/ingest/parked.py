"""Messages that wait for a provider: they become rows when it comes, in order, in one commit."""

from collections.abc import Callable, Sequence
from typing import LiteralString

import psycopg
import structlog

from services.ingest import core, store, traced
from services.ingest.batch_size import AdaptiveBatchSize
from services.ingest.postgres_errors import (
    SequenceBehind,
    check_at_once,
    describe,
    is_fault,
    provider_gone,
    raise_unless_bisectable,
)
from shared import postgres, tracing

RELEASED_MAX = 10_000
"""Waiting messages in one statement, at most: well within the statement timeout."""

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

# One replica at a time promotes a provider's messages, so that they keep their order.
TRY_LOCK_PROVIDER: LiteralString = """
SELECT pg_try_advisory_xact_lock(hashtextextended('minutebook:waiting:' || %(provider_id)s, 0))
"""

SELECT_WAITING: LiteralString = """
SELECT id
  FROM dead_letter
 WHERE state = 'waiting'
   AND provider_id = %(provider_id)s
 ORDER BY id
"""

RELEASE: LiteralString = """
WITH waiting AS (
    SELECT d.id, d.message_id, d.provider_id, d.value
      FROM dead_letter d
     WHERE d.id = ANY (%(ids)s::bigint[])
), first AS (
    SELECT DISTINCT ON (message_id) *
      FROM waiting
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
      JOIN first f ON f.message_id = s.message_id
     WHERE (s.provider_id, s.transaction_value) IS DISTINCT FROM (f.provider_id, f.value)
    ON CONFLICT DO NOTHING
), noted AS (
    INSERT INTO outbox (transaction_id, provider_id, amount, operation)
    SELECT id, provider_id, transaction_value, 'added'
      FROM stored
)
SELECT count(*)
  FROM stored
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
GIVE_UP: LiteralString = """
UPDATE dead_letter
   SET state = 'open',
       reason = 'refused_by_database',
       error = %(error)s
 WHERE id = ANY (%(ids)s::bigint[])
   AND state = 'waiting'
"""

log = structlog.get_logger()


def release_parked(conn: psycopg.Connection, batch_size: AdaptiveBatchSize | None = None) -> int:
    """Turn messages whose provider has appeared into rows, in order; returns the rows.

    One transaction per provider, or more if time runs out; `batch_size` says how many messages to a
    statement.
    Raises `Unavailable`.
    """
    with postgres.translating():
        batch_size = batch_size or AdaptiveBatchSize(RELEASED_MAX)
        return sum(_release_all(conn, one, batch_size) for one in _arrived_providers(conn))


def oldest_s(conn: psycopg.Connection) -> float:
    """Return for how many seconds a message has waited; 0 if none does. Raises `Unavailable`."""
    with postgres.translating():
        row = conn.execute(SELECT_OLDEST).fetchone()
    return row[0] if row else 0.0


def _release_all(conn: psycopg.Connection, provider_id: int, batch_size: AdaptiveBatchSize) -> int:
    with conn.transaction():
        ids = _lock_waiting(conn, provider_id)
        if batch_size.was_cut():  # a transaction, too, may have a limit: the rest in the next one
            ids = ids[: batch_size.size]
        check_at_once(conn)
        failures: list[psycopg.Error] = []
        rows = 0

        def attempt(part: Sequence[int]) -> str | None:
            nonlocal rows
            try:
                with conn.transaction():  # a savepoint: one bad row must not hold back the others
                    rows += _release(conn, part)
            except psycopg.Error as error:
                raise_unless_bisectable(conn, error)
                if provider_gone(conn, error, provider_id):
                    return None  # they wait on
                failures.append(error)
                return describe(error)
            return None

        try:
            blamed = _blamed(ids, batch_size, attempt)
            if blamed and len(blamed) == len(ids) and not all(map(is_fault, failures)):
                log.error("waiting_refused_alike", sqlstates=sorted(set(map(describe, failures))))
                return 0  # they wait on: it is not their fault
            for guilty, error in blamed:
                _give_up(conn, [guilty], error)
        except SequenceBehind as behind:
            store.advance_sequence(conn, behind.table)
            # Those not reached wait on: the next round finds free ids.
    if rows:
        log.info("waiting_promoted", provider_id=provider_id, rows=rows)
    return rows


def _blamed(
    ids: Sequence[int],
    batch_size: AdaptiveBatchSize,
    attempt: Callable[[Sequence[int]], str | None],
) -> list[tuple[int, str]]:
    """Attempt all, one batch at a time; return those to blame, each with its error."""
    blamed: list[tuple[int, str]] = []
    at = 0
    while part := ids[at : at + batch_size.size]:
        at += len(part)
        with batch_size.storing(len(part)), postgres.translating():
            blamed += core.bisect(part, attempt)
    return blamed


def _arrived_providers(conn: psycopg.Connection) -> list[int]:
    """Return the providers that messages waited for and that exist now."""
    return [provider_id for (provider_id,) in conn.execute(SELECT_ARRIVED)]


def _lock_waiting(conn: psycopg.Connection, provider_id: int) -> list[int]:
    """Return the dead letters that wait for a provider, in order; none if a replica is at them."""
    if conn.execute(TRY_LOCK_PROVIDER, {"provider_id": provider_id}).fetchone() != (True,):
        return []
    return [row[0] for row in conn.execute(SELECT_WAITING, {"provider_id": provider_id})]


def _release(conn: psycopg.Connection, ids: Sequence[int]) -> int:
    """Turn waiting dead letters into rows; returns how many rows that made.

    One whose identity has a row of the same content is dropped, of other content: `id_conflict`.
    """
    if tracing.on():
        rows = traced.release(conn, ids)
    else:
        (rows,) = conn.execute(RELEASE, {"ids": list(ids)}).fetchone() or (0,)
    conn.execute(SETTLE_RELEASED, {"ids": list(ids)})
    conn.execute(SETTLE_CONFLICTING, {"ids": list(ids)})
    _give_up(conn, ids, "the database made no row of it")
    return rows


def _give_up(conn: psycopg.Connection, ids: Sequence[int], error: str) -> None:
    """Say of those that still wait that the database refuses their row."""
    conn.execute(GIVE_UP, {"ids": list(ids), "error": error})
