"""Messages that are parked until their provider comes: within a second of that they become rows.

They are stored by the path that every message takes, in order, and their dead letters are settled
in the same commit. A thread and a connection of its own do that: a hundred thousand parked messages
must not hold up those that come in meanwhile.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any, LiteralString

import psycopg
import structlog

from adoption import checks
from services.ingest import core, metrics, postgres_errors, service
from services.ingest.batch_size import AdaptiveBatchSize
from services.ingest.core import DeadLetter, Delivery, Transaction
from services.ingest.identity import KeptProperties
from services.ingest.writer import STATEMENTS, Connect
from shared import postgres, retry, tracing
from shared.errors import StatementFailed, Unavailable
from shared.health import Health

PART = "releaser"
"""What health calls the thread."""
EVERY_S = 0.5
STUCK_S = 60.0
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

# Not those that somebody deletes at this moment: they were told that none of these becomes a row.
SELECT_PARKED: LiteralString = """
SELECT id, message_id, value, properties #>> '{headers,traceparent}'
  FROM dead_letter
 WHERE state = 'waiting'
   AND provider_id = %(provider_id)s
   AND id > %(after)s
 ORDER BY id
 LIMIT %(most)s
   FOR UPDATE SKIP LOCKED
"""

# One whose provider was gone meanwhile waits on, also if it is there again: in another row version.
REFUSE: LiteralString = """
UPDATE dead_letter d
   SET state = 'open',
       reason = %(reason)s,
       error = %(error)s
 WHERE d.id = %(id)s
   AND EXISTS (
       SELECT
         FROM initial_data p
        WHERE p.id = d.provider_id
          AND p.xmin::text = %(version)s)
"""
DELETE: LiteralString = """
DELETE FROM dead_letter
 WHERE id = ANY (%(ids)s::bigint[])
"""

log = structlog.get_logger()


class Releaser:
    """Looks twice a second whether a provider has come that messages wait for."""

    def __init__(
        self, connect: Connect, rules: service.IngestRules, health: Health, stop: threading.Event
    ) -> None:
        """`connect` opens a connection for one life of the releaser."""
        self._connect = connect
        self._rules = rules
        self._health = health
        self._stop = stop
        self._batch_size = AdaptiveBatchSize(RELEASED_MAX)
        health.expect(PART, within_s=STUCK_S)

    def live(self) -> None:
        """Release over one connection until it is lost or all is to stop."""
        with self._health.reporting(PART), self._connect() as conn:
            checks.check(conn, STATEMENTS, stores=True)
            try:
                while not self._stop.is_set():
                    self._health.turn(PART)
                    self.run_once(conn)
                    self._stop.wait(EVERY_S)
            except Unavailable as error:
                self._health.problem(PART, str(error))
                metrics.OLDEST_WAITING.set(math.nan)  # not known now: others may see it
                retry.report_lost(error)

    def run_once(self, conn: psycopg.Connection) -> int:
        """Release what can be; returns the rows that made. Raises `Unavailable`."""
        released = 0
        with postgres.translating():
            arrived, oldest_s = conn.execute(SELECT_AWAITED).fetchone() or ([], 0.0)
            metrics.OLDEST_WAITING.set(oldest_s)
            for provider_id in arrived:
                for rows in self._releases(conn, provider_id):
                    released += rows
                    if self._stop.is_set():  # a million of them would outlast the grace period
                        return released
        self._health.progress(PART)
        return released

    def _releases(self, conn: psycopg.Connection, provider_id: int) -> Iterator[int]:
        """Release a provider's messages, in order; yield the rows of each transaction."""
        last_id = 0
        while True:
            with conn.transaction():
                parked = _lock_next(conn, provider_id, last_id, self._batch_size.size)
                if not parked:
                    return
                with self._batch_size.storing(len(parked)):
                    rows = _release(conn, parked, self._rules)
            if rows:
                metrics.RELEASED.inc(rows)
                log.info("waiting_promoted", provider_id=provider_id, rows=rows)
            self._health.progress(PART)
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
        Transaction(_delivery(row_id, identity, traceparent), identity, provider_id, value)
        for row_id, identity, value, traceparent in conn.execute(SELECT_PARKED, given)
    ]


def _delivery(row_id: int, identity: str, traceparent: str | None) -> Delivery:
    properties = KeptProperties({tracing.HEADER: traceparent})
    return Delivery(row_id, False, properties, b"", identity)  # noqa: FBT003 - not redelivered


def _release(
    conn: psycopg.Connection, parked: Sequence[Transaction], rules: service.IngestRules
) -> int:
    """Store messages, and update their dead letters in the same commit; returns the rows made.

    A dead letter goes with its row, or says what is wrong. If Postgres refuses all, all wait on.
    """

    def update(outcome: service.Outcome) -> None:
        dead = [_refused(one) | {"version": version} for one in outcome.deferred]
        with conn.cursor() as cursor:
            cursor.executemany(REFUSE, dead)
        stored = {one.delivery.tag for one in parked} - {one["id"] for one in dead}
        conn.execute(DELETE, {"ids": list(stored)})

    version = postgres_errors.provider_version(conn, parked[0].provider_id)
    postgres_errors.check_at_once(conn)
    try:
        return service.store_batch(conn, parked, rules, update, defer_dead_letters=True).inserted
    except StatementFailed as failed:
        log.error("waiting_refused_alike", reason=failed.detail)
        return 0


def _refused(dead: DeadLetter) -> dict[str, Any]:
    """Return what is wrong with a dead letter if its provider is there."""
    if dead.reason == "unknown_provider":  # a trigger of the user's, say, let no row be made
        dead = core.refused(dead, "the database made no row of it")
    return {"id": dead.delivery.tag, "reason": dead.reason, "error": dead.error}
