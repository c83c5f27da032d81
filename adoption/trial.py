"""Tries on made-up rows what will be done to the user's tables, and takes all of it back.

Triggers, constraints and types of theirs can be such that no catalogue tells what comes of it. The
sequences are rewound with the rest, so that the next id is the one it would have been.
"""

import uuid
from typing import LiteralString

import psycopg
import structlog
from psycopg import sql

from shared import postgres
from shared.errors import Refusal
from shared.transactions import INSERT_TRANSACTIONS

# For these single rows are refused, as they may be: they become dead letters. All rows are where no
# ids are left, or a column that no message fills.
FAULT_CLASSES = ("22", "23", "P0")
FAULT_OF_ALL = ("2200H", "23502")
# The connection, deadlocks, resources, the server; and a lock: all may be better the next time.
PASSING = ("08", "40", "53", "57", "58", "55P03")

# A sequence that is restarted is a new one, which is gone when the transaction is undone.
SELECT_SEQUENCES: LiteralString = """
SELECT s::text
  FROM unnest(ARRAY[minutebook_id_sequence('historical_transactions'),
                    pg_get_serial_sequence('outbox', 'id')::regclass]) AS s
"""
REWIND = """
DO $$
DECLARE
    was record;
BEGIN
    SELECT last_value, is_called INTO was FROM {sequence};
    ALTER SEQUENCE {sequence} RESTART;
    PERFORM setval({name}, was.last_value, was.is_called);
END
$$
"""
INSERT_PROVIDER: LiteralString = """
INSERT INTO initial_data (id, provider_name, initial_value)
OVERRIDING SYSTEM VALUE VALUES (1, 'Trial', 0)
"""
# One like those that are there, if there are any: their constraints let it pass.
SELECT_LIKE: LiteralString = """
(SELECT h.provider_id, h.transaction_value
   FROM historical_transactions h
   JOIN initial_data p ON p.id = h.provider_id
  WHERE h.transaction_value IS NOT NULL
  LIMIT 1)
 UNION ALL
SELECT id, 1
  FROM initial_data
 LIMIT 1
"""
AS_INGEST: LiteralString = "SET LOCAL minutebook.writer = 'ingest'"
AS_ANYBODY: LiteralString = "SET LOCAL minutebook.writer = ''"
CHANGES: tuple[LiteralString, ...] = (
    "UPDATE initial_data SET provider_name = provider_name || '~' WHERE id = %(provider_id)s",
    """
    UPDATE historical_transactions SET transaction_value = -transaction_value
     WHERE message_id = ANY (%(identities)s)
    """,
    "DELETE FROM historical_transactions WHERE message_id = ANY (%(identities)s)",
)
SELECT_IDS: LiteralString = """
SELECT id
  FROM historical_transactions
 WHERE message_id = ANY (%(identities)s)
"""
SELECT_COUNTED: LiteralString = """
SELECT (SELECT coalesce(sum(amount), 0)
          FROM outbox
         WHERE xid = pg_current_xact_id()
           AND transaction_id = ANY (%(ids)s)),
       (SELECT coalesce(sum(transaction_value), 0)
          FROM historical_transactions
         WHERE message_id = ANY (%(identities)s))
"""

log = structlog.get_logger()


def run(conn: psycopg.Connection) -> None:
    """Raise `Refusal` if something does not work that will be needed. Nothing stays of it."""
    with conn.transaction(force_rollback=True):
        for (sequence,) in conn.execute(SELECT_SEQUENCES).fetchall():
            rewind = sql.SQL(REWIND).format(sequence=sql.SQL(sequence), name=sql.Literal(sequence))
            conn.execute(rewind)
        try:
            _store_and_change(conn)
        except psycopg.Error as error:
            if _is_passing(error):
                raise
            state = error.sqlstate or ""
            if state in FAULT_OF_ALL or state[:2] not in FAULT_CLASSES:
                problem = f"storing a transaction was tried and failed: {postgres.detail(error)}"
                raise Refusal(problem) from error
            log.warning("trial_refused", error=postgres.detail(error))


def _store_and_change(conn: psycopg.Connection) -> None:
    like = conn.execute(SELECT_LIKE).fetchone()
    if like is None:
        try:
            conn.execute(INSERT_PROVIDER)
        except psycopg.errors.IntegrityError as error:  # columns of theirs that we cannot fill
            log.warning("trial_refused", error=postgres.detail(error))
            return
        like = (1, 1)
    name = f"minutebook trial {uuid.uuid4()}"
    try:
        with conn.transaction():
            identities = _store(conn, like, [name, name.upper(), f"{name} "])
    except psycopg.errors.UniqueViolation:  # an index of theirs may allow one only
        identities = _store(conn, like, [name])
    if not identities:
        log.warning("trial_refused", error="a trigger let no row be made")
        return
    ids = [one for (one,) in conn.execute(SELECT_IDS, {"identities": identities})]
    made = {"provider_id": like[0], "identities": identities, "ids": ids}
    _check_counted(conn, made)
    for change in CHANGES:
        try:
            with conn.transaction():  # a savepoint: they may forbid changes, as of a history
                conn.execute(change, made)
        except psycopg.Error as error:
            if _is_passing(error):
                raise
        _check_counted(conn, made)


def _store(conn: psycopg.Connection, like: tuple[int, int], identities: list[str]) -> list[str]:
    """Store a transaction `like` (provider, value) under each of the identities; return those."""
    batch = {
        "provider_ids": [like[0]] * len(identities),
        "values": [like[1]] * len(identities),
        "identities": identities,
        "traceparents": None,
    }
    conn.execute(AS_INGEST)
    stored, again = [
        {one for (one,) in conn.execute(INSERT_TRANSACTIONS, batch, binary=True) if one is not None}
        for _ in range(2)
    ]
    if stored and stored != set(identities):
        raise Refusal(
            f"of the messages {identities} those stored were {sorted(stored)}: something, a trigger"
            " perhaps, changes message_id or takes different ones for the same"
        )
    if stored and again:
        raise Refusal("the same messages were stored twice")
    conn.execute(AS_ANYBODY)
    return sorted(stored)


def _check_counted(conn: psycopg.Connection, made: dict[str, object]) -> None:
    ((counted, there),) = conn.execute(SELECT_COUNTED, made).fetchall()
    if counted != there:
        raise Refusal(f"a change passes by our triggers: {counted} counted of {there}")


def _is_passing(error: psycopg.Error) -> bool:
    return error.sqlstate is None or error.sqlstate.startswith(PASSING)
