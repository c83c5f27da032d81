"""The SQL of transactions. Every function works in its caller's transaction and never commits."""

import contextlib
from collections.abc import Sequence
from typing import LiteralString

import psycopg
import structlog
from psycopg import errors
from psycopg.types.json import Jsonb

from services.ingest.core import Transaction, Validated
from shared import tracing
from shared.amqp.properties import MalformedProperties
from shared.transactions import INSERT_ALL_OR_NONE, INSERT_TRANSACTIONS

OPTIONS = (
    # Says to the trigger on historical_transactions that we write our outbox rows ourselves.
    "-c minutebook.writer=ingest"
    # Each transaction's foreign key is checked by itself, by a plan that Postgres makes once a
    # session. With few providers it would read all of them each time: 400 took a third of a batch.
    " -c enable_seqscan=off"
)

log = structlog.get_logger()

SELECT_EXISTING: LiteralString = """
SELECT h.message_id IS NOT NULL AS taken,
       (h.provider_id, h.transaction_value) IS NOT DISTINCT FROM (b.provider_id, b.value)
       OR EXISTS (
          SELECT
            FROM received_message r
           WHERE r.message_id = b.message_id
             AND r.provider_id = b.provider_id
             AND r.value = b.value) AS alike
  FROM unnest(%(provider_ids)b::bigint[], %(values)b::bigint[], %(identities)b::text[])
       WITH ORDINALITY AS b (provider_id, value, message_id, n)
  LEFT JOIN historical_transactions h ON h.message_id = b.message_id
 ORDER BY b.n
"""

ADVANCE_SEQUENCE: LiteralString = "SELECT minutebook_advance_sequence(%(table)s)"


def insert_transactions(
    conn: psycopg.Connection, batch: Sequence[Transaction]
) -> tuple[set[str], bool]:
    """Insert those whose identity is new and whose provider exists, each with its outbox row.

    Returns the identities inserted, and whether a trigger of the user's may have stored something
    else than was sent. Raises psycopg's errors as they are, `TriggeredActionException` if a trigger
    changed an identity: nobody could tell whose row that is.
    """
    rows = conn.execute(INSERT_TRANSACTIONS, _with_traceparents(batch), binary=True).fetchall()
    identities = {identity for (identity,) in rows if identity is not None}
    # One NULL is the marker of INSERT_TRANSACTIONS; a second is a row whose identity was removed.
    nulls = len(rows) - len(identities)
    if nulls > 1 or (nulls and not identities <= {one.identity for one in batch}):
        raise errors.TriggeredActionException("a trigger changes the identity of the row")
    return identities, nulls > 0


def insert_all_or_none(conn: psycopg.Connection, batch: Sequence[Transaction]) -> None:
    """Insert all, each with its outbox row; fail and store nothing unless all are as sent.

    Raises psycopg's errors as they are.
    """
    conn.execute(INSERT_ALL_OR_NONE, _with_traceparents(batch), binary=True)


def existing(conn: psycopg.Connection, batch: Sequence[Transaction]) -> Sequence[tuple[bool, bool]]:
    """Return for each message that was not inserted what is there under its identity.

    First whether a row has it (taken); then whether a message of the same content had it, whatever
    its row says now (alike).
    """
    return conn.execute(SELECT_EXISTING, arrays(batch)).fetchall() if batch else []


def advance_sequence(conn: psycopg.Connection, table: str) -> None:
    """Move the sequence of a table's ids past all ids in use."""
    conn.execute(ADVANCE_SEQUENCE, {"table": table})
    log.warning("sequence_advanced", table=table)


def arrays(batch: Sequence[Validated]) -> dict[str, object]:
    """Return a batch as one array for each column; statements make rows of them by `unnest`."""
    return {
        "provider_ids": [one.provider_id for one in batch],
        "values": [one.value for one in batch],
        "identities": [one.identity for one in batch],
    }


def _with_traceparents(batch: Sequence[Transaction]) -> dict[str, object]:
    """Return arrays, and traceparents by identity: none at all unless we trace."""
    traceparents = {one.identity: traceparent(one) for one in batch} if tracing.on() else None
    return {**arrays(batch), "traceparents": Jsonb(traceparents) if traceparents else None}


def traceparent(message: Validated) -> str | None:
    """Return the traceparent of a message, if it has one that can be understood."""
    with contextlib.suppress(MalformedProperties):
        return tracing.traceparent(message.delivery.properties.headers)
    return None
