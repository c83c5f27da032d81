"""Writing dead letters: those that can be written are, whatever is in the way of the others.

Every function works in its caller's transaction and never commits.
"""

import contextlib
from collections.abc import Sequence
from functools import partial
from typing import LiteralString

import psycopg
from psycopg import errors

from services.ingest import core, postgres_errors, store
from services.ingest.core import DeadLetter, Delivery
from shared import postgres
from shared.amqp import amqp_json
from shared.amqp.properties import MalformedProperties
from shared.shard import SENT_ON

# One that an operator replayed with another body or identity: nothing may come of the original when
# the broker delivers it again.
REPLAYED: LiteralString = """EXISTS (
       SELECT
         FROM operator_action a
        WHERE a.action = 'dead_letter_replayed'
          AND a.detail ->> 'message_id' = b.message_id
          AND a.body = b.body)
"""
# Nor a dead letter of one that was sent on to another shard. One that is sent back from there says
# so, and one that its producer sends once more is not redelivered: those are not lost.
NOT_REPLAYED: LiteralString = f"""NOT {REPLAYED}
   AND NOT (b.redelivered AND EXISTS (
       SELECT
         FROM operator_action a
        WHERE a.detail ->> 'message_id' = b.message_id
          AND a.detail ->> 'sent_on' = encode(sha256(b.body), 'hex')))
"""  # noqa: S608 - constants of ours only
INSERT_DEAD_LETTERS: LiteralString = f"""
INSERT INTO dead_letter (
       message_id, reason, error, queue, body, properties, provider_id, value, state)
SELECT b.message_id, b.reason, b.error, %(queue)s, b.body, b.properties, b.provider_id, b.value,
       b.state
  FROM unnest(%(identities)s::text[], %(reasons)s::text[], %(errors)s::text[],
              %(bodies)b::bytea[], %(properties)s::jsonb[], %(provider_ids)s::bigint[],
              %(values)s::bigint[], %(states)s::text[], %(redelivered)s::boolean[])
       WITH ORDINALITY
       AS b (message_id, reason, error, body, properties, provider_id, value, state, redelivered, n)
 WHERE {NOT_REPLAYED}
 ORDER BY b.n
ON CONFLICT (message_id, body_sha256) DO NOTHING
"""  # noqa: S608 - constants of ours only

# Who replays the dead letter of one may not have committed yet: the INSERT is to see that.
AWAIT_REPLAYS: LiteralString = """
SELECT
  FROM unnest(%(identities)s::text[], %(bodies)b::bytea[]) AS b (message_id, body)
  JOIN dead_letter d ON d.message_id = b.message_id AND d.body_sha256 = sha256(b.body)
   FOR UPDATE OF d
"""
# How many of them are neither there nor were replayed: a rule or a trigger made them vanish.
COUNT_VANISHED: LiteralString = f"""
SELECT count(*)
  FROM unnest(%(identities)s::text[], %(bodies)b::bytea[], %(redelivered)s::boolean[])
       AS b (message_id, body, redelivered)
 WHERE NOT EXISTS (
       SELECT
         FROM dead_letter d
        WHERE d.message_id = b.message_id
          AND d.body_sha256 = sha256(b.body))
   AND {NOT_REPLAYED}
"""  # noqa: S608 - constants of ours only


def store_dead_letters(
    conn: psycopg.Connection, dead: Sequence[DeadLetter], queue: str
) -> tuple[list[DeadLetter], str]:
    """Write those that can be written; return the others, and why the first of them was not.

    Raises psycopg's error if the connection is lost.
    """
    trouble: list[str] = []

    def attempt(part: Sequence[DeadLetter]) -> str | None:
        if trouble:
            return trouble[0]
        insert = partial(_insert, conn, part, queue)
        error = postgres_errors.in_savepoint(conn, insert)
        if error is not None and _advanced_sequence(conn, error):
            error = postgres_errors.in_savepoint(conn, insert)
        if error is None:
            return None
        if postgres_errors.is_trouble(error):  # each attempt may wait as long as this one
            trouble.append(postgres.detail(error))
        return postgres.detail(error)

    unwritten = core.bisect(dead, attempt)
    return [one for one, _ in unwritten], unwritten[0][1] if unwritten else ""


def _insert(conn: psycopg.Connection, dead: Sequence[DeadLetter], queue: str) -> None:
    """Insert dead letters with body and properties.

    Raises psycopg's errors, `TriggeredActionException` if one is not there afterwards.
    """
    values = {
        **store.arrays(dead),
        "reasons": [one.reason for one in dead],
        "errors": [one.error for one in dead],
        "queue": queue,
        # One type for all, and in binary: as text they would take five times the memory.
        "bodies": [bytes(one.delivery.body) for one in dead],
        "properties": [amqp_json.encode(one.delivery.properties.all()) for one in dead],
        "states": [one.state for one in dead],
        "redelivered": [_is_original_again(one.delivery) for one in dead],
    }
    if any(one.delivery.redelivered for one in dead):
        conn.execute(AWAIT_REPLAYS, values)
    new = conn.execute(INSERT_DEAD_LETTERS, values).rowcount
    if new < len(dead) and conn.execute(COUNT_VANISHED, values).fetchone() != (0,):
        raise errors.TriggeredActionException("a rule or trigger on dead_letter let none be made")


def _is_original_again(delivery: Delivery) -> bool:
    """Say whether it was delivered before, and is not what an operator sent on."""
    with contextlib.suppress(MalformedProperties):
        return delivery.redelivered and SENT_ON not in (delivery.properties.headers or {})
    return delivery.redelivered


def _advanced_sequence(conn: psycopg.Connection, error: psycopg.Error) -> bool:
    """Move on the sequence of dead letters' ids if `error` says that it is behind."""
    table = postgres_errors.clashing_ids(conn, error)
    if table is None:
        return False
    return postgres_errors.in_savepoint(conn, partial(store.advance_sequence, conn, table)) is None
