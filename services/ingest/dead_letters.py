"""Writing dead letters: those that can be written are, whatever is in the way of the others.

Every function works in its caller's transaction and never commits.
"""

from collections.abc import Sequence
from functools import partial
from typing import LiteralString

import psycopg
from psycopg import errors

from services.ingest import core, postgres_errors, store
from services.ingest.core import DeadLetter
from shared import postgres
from shared.amqp import amqp_json

# One that an operator replayed is settled: it must not come back when the broker delivers the
# original again.
NOT_REPLAYED: LiteralString = """NOT EXISTS (
       SELECT
         FROM operator_action a
        WHERE a.action = 'dead_letter_replayed'
          AND a.detail ->> 'message_id' = d.message_id
          AND a.body = d.body)
"""
INSERT_DEAD_LETTERS: LiteralString = f"""
INSERT INTO dead_letter (
       message_id, reason, error, queue, body, properties, provider_id, value, state)
SELECT d.message_id, d.reason, d.error, %(queue)s, d.body, d.properties, d.provider_id, d.value,
       d.state
  FROM unnest(%(identities)s::text[], %(reasons)s::text[], %(errors)s::text[],
              %(bodies)b::bytea[], %(properties)s::jsonb[], %(provider_ids)s::bigint[],
              %(values)s::bigint[], %(states)s::text[])
       WITH ORDINALITY
       AS d (message_id, reason, error, body, properties, provider_id, value, state, n)
 WHERE {NOT_REPLAYED}
 ORDER BY d.n
ON CONFLICT (message_id, body_sha256) DO NOTHING
"""  # noqa: S608 - constants of ours only

# How many of them are neither there nor were replayed: a rule or a trigger made them vanish.
COUNT_VANISHED: LiteralString = f"""
SELECT count(*)
  FROM unnest(%(identities)s::text[], %(bodies)b::bytea[]) AS d (message_id, body)
 WHERE NOT EXISTS (
       SELECT
         FROM dead_letter l
        WHERE l.message_id = d.message_id
          AND l.body_sha256 = sha256(d.body))
   AND {NOT_REPLAYED}
"""  # noqa: S608 - constants of ours only


def store_dead_letters(
    conn: psycopg.Connection, letters: Sequence[DeadLetter], queue: str
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

    unwritten = core.bisect(letters, attempt)
    return [letter for letter, _ in unwritten], unwritten[0][1] if unwritten else ""


def _insert(conn: psycopg.Connection, letters: Sequence[DeadLetter], queue: str) -> None:
    """Insert dead letters with body and properties.

    Raises psycopg's errors, `TriggeredActionException` if one is not there afterwards.
    """
    values = {
        **store.arrays(letters),
        "reasons": [letter.reason for letter in letters],
        "errors": [letter.error for letter in letters],
        "queue": queue,
        # One type for all, and in binary: as text they would take five times the memory.
        "bodies": [bytes(letter.delivery.body) for letter in letters],
        "properties": [amqp_json.encode(letter.delivery.properties.all()) for letter in letters],
        "states": [letter.state for letter in letters],
    }
    new = conn.execute(INSERT_DEAD_LETTERS, values).rowcount
    if new < len(letters) and conn.execute(COUNT_VANISHED, values).fetchone() != (0,):
        raise errors.TriggeredActionException("a rule or trigger on dead_letter let none be made")


def _advanced_sequence(conn: psycopg.Connection, error: psycopg.Error) -> bool:
    """Move on the sequence of dead letters' ids if `error` says that it is behind."""
    table = postgres_errors.clashing_ids(conn, error)
    if table is None:
        return False
    return postgres_errors.in_savepoint(conn, partial(store.advance_sequence, conn, table)) is None
