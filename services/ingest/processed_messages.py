"""What messages said whose rows say something else now, or are gone.

A row that is changed or deleted by hand takes a note of what it said with it, by a trigger; what a
trigger of the user's makes of a row as it is inserted is noted here. By these notes a message that
the broker delivers again is a duplicate, whatever became of its row meanwhile. Every function works
inside the transaction of its caller and never commits.
"""

from collections.abc import Sequence
from typing import LiteralString

import psycopg

from services.ingest import store
from services.ingest.core import Transaction
from services.ingest.dead_letters import REPLAYED

NOTE: LiteralString = """
INSERT INTO received_message (message_id, provider_id, value)
SELECT b.message_id, b.provider_id, b.value
  FROM unnest(%(provider_ids)s::bigint[], %(values)s::bigint[], %(identities)s::text[])
       AS b (provider_id, value, message_id)
  JOIN historical_transactions h ON h.message_id = b.message_id
 WHERE (h.provider_id, h.transaction_value) IS DISTINCT FROM (b.provider_id, b.value)
ON CONFLICT DO NOTHING
"""
# Notes of our own transaction do not count: a trigger of the user's may have changed the row that
# we just made. Nor do dead letters that wait: they go when their message has a row.
SELECT_PROCESSED: LiteralString = f"""
SELECT b.message_id
  FROM unnest(%(provider_ids)s::bigint[], %(values)s::bigint[], %(identities)s::text[],
              %(bodies)s::bytea[])
       AS b (provider_id, value, message_id, body)
 WHERE EXISTS (
       SELECT
         FROM received_message r
        WHERE r.message_id = b.message_id
          AND r.provider_id = b.provider_id
          AND r.value = b.value
          AND r.xid <> pg_current_xact_id())
    OR EXISTS (
       SELECT
         FROM dead_letter d
        WHERE d.message_id = b.message_id
          AND d.body_sha256 = sha256(b.body)
          AND d.state = 'open')
    OR {REPLAYED}
"""  # noqa: S608 - constants of ours only


class AlreadyProcessed(Exception):
    """Messages came again that were processed before, and have no row: they must not get one."""

    def __init__(self, identities: set[str]) -> None:
        """Name them."""
        super().__init__(f"{len(identities)} messages")
        self.identities = identities


def note(conn: psycopg.Connection, stored: Sequence[Transaction]) -> None:
    """Note what messages said that were just stored otherwise."""
    if stored:
        conn.execute(NOTE, store.arrays(stored))


def refuse_processed(conn: psycopg.Connection, stored: Sequence[Transaction]) -> None:
    """See whether redelivered messages that were just `stored` had been processed before.

    Only a statement after the INSERT can tell: the INSERT waited for whoever was deleting the row,
    and the note of that is seen now.

    Raises `AlreadyProcessed` for those whose row was deleted by hand, and for those that are a dead
    letter, or were one that an operator replayed as another message.
    """
    if not stored:
        return
    bodies = [one.delivery.body for one in stored]
    given = {**store.arrays(stored), "bodies": bodies}
    if processed := conn.execute(SELECT_PROCESSED, given).fetchall():
        raise AlreadyProcessed({identity for (identity,) in processed})
