"""Messages that are parked until their provider comes: then they become rows, in order.

They are stored by the path that every message takes, with their dead letters in the same commit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
import structlog

from services.ingest import core, postgres_errors, service
from services.ingest.batch_size import AdaptiveBatchSize
from services.ingest.core import DeadLetter, Delivery, Transaction
from shared import postgres, tracing
from shared.errors import StatementFailed

RELEASED_MAX = 10_000
"""Messages in one transaction, at most: well within the statement timeout."""

# Loose index scan: of each provider that is waited for its first message, which waits longest,
# without reading all who wait.
SELECT_AWAITED: LiteralString = """
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
SELECT coalesce(array_agg(p.id ORDER BY p.id) FILTER (WHERE p.id IS NOT NULL), '{}'),
       coalesce(extract(epoch FROM now() - min(a.received_at)), 0)::float8
  FROM awaited a
  LEFT JOIN initial_data p ON p.id = a.provider_id
"""

# One replica at a time releases a provider's messages, so that they keep their order.
TRY_LOCK_PROVIDER: LiteralString = """
SELECT pg_try_advisory_xact_lock(hashtextextended('minutebook:waiting:' || %(provider_id)s, 0))
"""

SELECT_PARKED: LiteralString = """
SELECT id, message_id, value, properties #>> '{headers,traceparent}'
  FROM dead_letter
 WHERE state = 'waiting'
   AND provider_id = %(provider_id)s
   AND id > %(after)s
 ORDER BY id
 LIMIT %(most)s
"""

# One whose provider is gone again waits on.
REFUSE: LiteralString = """
UPDATE dead_letter d
   SET state = 'open',
       reason = %(reason)s,
       error = %(error)s
 WHERE d.id = %(id)s
   AND EXISTS (
       SELECT
         FROM initial_data p
        WHERE p.id = d.provider_id)
"""
DELETE: LiteralString = """
DELETE FROM dead_letter
 WHERE id = ANY (%(ids)s::bigint[])
"""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class KeptProperties:
    """Properties of a message whose dead letter is there: no other one needs them all."""

    headers: Any
    message_id: Any = None

    def all(self) -> Mapping[str, object]:
        """Return nothing: a letter that stays keeps the properties it has."""
        return {}


def awaited(conn: psycopg.Connection) -> tuple[list[int], float]:
    """Return which providers that messages wait for have come, and how long (s) any has waited.

    Raises `Unavailable`.
    """
    with postgres.translating():
        return conn.execute(SELECT_AWAITED).fetchone() or ([], 0.0)


def releases(
    conn: psycopg.Connection,
    provider_id: int,
    intake: service.Intake,
    batch_size: AdaptiveBatchSize,
) -> Iterator[int]:
    """Turn a provider's messages into rows, in order; yield the rows of each transaction.

    `batch_size` says how many messages to a transaction. Raises `Unavailable`.
    """
    last_id = 0
    while True:
        with postgres.translating(), conn.transaction():
            parked = _lock_next(conn, provider_id, last_id, batch_size.size)
            if not parked:
                return
            with batch_size.storing(len(parked)):
                rows = _release(conn, parked, intake)
        if rows:
            log.info("waiting_promoted", provider_id=provider_id, rows=rows)
        last_id = parked[-1].delivery.tag
        yield rows


def _lock_next(
    conn: psycopg.Connection, provider_id: int, after: int, most: int
) -> list[Transaction]:
    """Return parked messages, in order; none if another replica releases them.

    The tag of each is the id of its dead letter.
    """
    given = {"provider_id": provider_id, "after": after, "most": most}
    if conn.execute(TRY_LOCK_PROVIDER, given).fetchone() != (True,):
        return []
    return [
        Transaction(_delivery(letter_id, identity, traceparent), identity, provider_id, value)
        for letter_id, identity, value, traceparent in conn.execute(SELECT_PARKED, given)
    ]


def _delivery(letter_id: int, identity: str, traceparent: str | None) -> Delivery:
    properties = KeptProperties({tracing.HEADER: traceparent})
    return Delivery(letter_id, False, properties, b"", identity)  # noqa: FBT003 - not redelivered


def _release(
    conn: psycopg.Connection, parked: Sequence[Transaction], intake: service.Intake
) -> int:
    """Store messages, and settle their letters in the same commit; returns how many rows that made.

    A letter goes with its row, or says what is wrong. If Postgres refuses all alike, all wait on.
    """

    def settle(outcome: service.Outcome) -> None:
        dead = [_refused(letter) for letter, _ in outcome.deferred]
        with conn.cursor() as cursor:
            cursor.executemany(REFUSE, dead)
        settled = {one.delivery.tag for one in parked} - {one["id"] for one in dead}
        conn.execute(DELETE, {"ids": list(settled)})

    postgres_errors.check_at_once(conn)
    try:
        return service.store_batch(conn, parked, intake, settle, defer_dead_letters=True).inserted
    except StatementFailed as failed:
        log.error("waiting_refused_alike", reason=failed.detail)
        return 0


def _refused(letter: DeadLetter) -> dict[str, Any]:
    """Return what is wrong with a letter whose provider is there."""
    if letter.reason == "unknown_provider":  # a trigger of the user's, say, let no row be made
        letter = core.refused(letter, "the database made no row of it")
    return {"id": letter.delivery.tag, "reason": letter.reason, "error": letter.error}
