"""What ingest does besides when it traces: outbox rows keep their message's traceparent."""

from collections.abc import Sequence
from typing import LiteralString

import psycopg

from shared import tracing

# As without tracing (services.ingest.parked); the headers of a message that waits are kept.
RELEASE_TRACED: LiteralString = """
WITH waiting AS (
    SELECT DISTINCT ON (message_id)
           id, message_id, provider_id, value,
           substring(properties #>> '{headers,traceparent}' FROM %(well_formed)s) AS traceparent
      FROM dead_letter
     WHERE id = ANY (%(ids)s::bigint[])
     ORDER BY message_id, id
), stored AS (
    INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
    SELECT provider_id, value, message_id
      FROM waiting
     ORDER BY id
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id, provider_id, transaction_value, message_id
), rewritten AS (
    INSERT INTO received_message (message_id, provider_id, value)
    SELECT w.message_id, w.provider_id, w.value
      FROM stored s
      JOIN waiting w ON w.message_id = s.message_id
     WHERE (s.provider_id, s.transaction_value) IS DISTINCT FROM (w.provider_id, w.value)
    ON CONFLICT DO NOTHING
), noted AS (
    INSERT INTO outbox (transaction_id, provider_id, amount, operation, traceparent)
    SELECT s.id, s.provider_id, s.transaction_value, 'added', w.traceparent
      FROM stored s
      LEFT JOIN waiting w USING (message_id)
)
SELECT count(*)
  FROM stored
"""


def release(conn: psycopg.Connection, ids: Sequence[int]) -> int:
    """Make rows of waiting messages, each outbox row with its message's traceparent, if any."""
    chosen = {"ids": list(ids), "well_formed": f"^({tracing.TRACEPARENT.pattern})$"}
    row = conn.execute(RELEASE_TRACED, chosen).fetchone()
    return row[0] if row else 0
