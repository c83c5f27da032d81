"""What the life of a transaction is asked of: each statement finds its few rows by an index."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any, LiteralString

import psycopg

# One snapshot for all that is asked. Tables that another login may not read are left out.
READ_ONLY: LiteralString = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
INDEXES_ONLY: LiteralString = "SET LOCAL enable_seqscan = off"

SELECT_ROW: LiteralString = """
SELECT id, provider_id, transaction_value::text, created_at, message_id, xmin::text::bigint
  FROM historical_transactions
 WHERE id = %(row_id)s
"""
SELECT_ROW_OF_MESSAGE: LiteralString = """
SELECT id, provider_id, transaction_value::text, created_at, message_id, xmin::text::bigint
  FROM historical_transactions
 WHERE message_id = %(message_id)s
"""
# A row that is gone left a note of what it said, in the same Postgres transaction as its outbox
# row. Two alike that went together cannot be told apart, and need not be.
SELECT_REMOVED: LiteralString = """
SELECT o.transaction_id
  FROM received_message r
  JOIN outbox o ON o.xid = r.xid
               AND o.provider_id = r.provider_id
               AND o.amount = -r.value::numeric
               AND o.operation = 'removed'
 WHERE r.message_id = %(message_id)s
 ORDER BY o.id DESC
 LIMIT 1
"""
# The Postgres transaction that wrote the row as it stands wrote an outbox row, too: `xmin` is the
# lower half of its xid, the last one that ended so. Within a savepoint it is another one.
SELECT_CHANGES: LiteralString = """
SELECT created_at, operation, provider_id, amount::text, xid::text
  FROM (SELECT *
          FROM outbox
         WHERE xid = (SELECT (now - ((now - %(xmin)s::bigint) & 4294967295))::text::xid8
                        FROM (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS now)
                             AS clock)
           AND transaction_id = %(row_id)s
           AND operation = 'added'
         UNION ALL
        SELECT *
          FROM outbox
         WHERE transaction_id = %(row_id)s
           AND operation <> 'added') AS change
 ORDER BY id
"""
# Both have one time, that of their transaction. No index leads to it: it would cost ingest more
# than these few questions are worth. It is the partition of that time that is read.
SELECT_ADDED_THEN: LiteralString = """
SELECT created_at, operation, provider_id, amount::text, xid::text
  FROM outbox
 WHERE created_at = %(stored_at)s
   AND transaction_id = %(row_id)s
   AND operation = 'added'
"""
# For a row whose time somebody changed, or that is gone: it reads the whole outbox.
SELECT_ADDED: LiteralString = """
SELECT created_at, operation, provider_id, amount::text, xid::text
  FROM outbox
 WHERE transaction_id = %(row_id)s
   AND operation = 'added'
"""
# What a tick's snapshot sees every later one sees, so the first to see it is found by bisection,
# however many came after it. A tick of another cluster sees nothing of this one's transactions.
SELECT_COUNTED: LiteralString = """
WITH RECURSIVE bisection AS (
    SELECT min(epoch) AS low, max(epoch) + 1 AS high
      FROM tick
     UNION ALL
    SELECT CASE WHEN t.sees THEN b.low ELSE t.epoch + 1 END,
           CASE WHEN t.sees THEN (b.low + b.high) / 2 ELSE b.high END
      FROM bisection b
     CROSS JOIN LATERAL (
           SELECT epoch, system_identifier = (SELECT system_identifier FROM pg_control_system())
                         AND pg_visible_in_snapshot(%(xid)s::xid8, snapshot) AS sees
             FROM tick
            WHERE epoch >= (b.low + b.high) / 2
            ORDER BY epoch
            LIMIT 1) AS t
     WHERE b.low < b.high
)
SELECT due.epoch, due.boundary, shown.published_at
  FROM bisection b
 CROSS JOIN LATERAL (
       SELECT epoch, boundary
         FROM tick
        WHERE epoch >= b.low
          AND boundary IS NOT NULL
        ORDER BY epoch
        LIMIT 1) AS due
  LEFT JOIN LATERAL (
       SELECT published_at
         FROM tick
        WHERE epoch >= due.epoch
          AND published_at IS NOT NULL
        ORDER BY epoch
        LIMIT 1) AS shown ON true
 WHERE b.low >= b.high
"""
# The first tick of this cluster, if nothing of this cluster came before it.
SELECT_BASELINE: LiteralString = """
SELECT first.epoch, first.boundary, shown.published_at, first.folded_at
  FROM (SELECT t.epoch, t.boundary, t.folded_at
          FROM tick t
          JOIN pg_control_system() c ON c.system_identifier = t.system_identifier
         ORDER BY t.epoch
         LIMIT 1) AS first
  LEFT JOIN LATERAL (
       SELECT published_at
         FROM tick
        WHERE epoch >= first.epoch
          AND published_at IS NOT NULL
        ORDER BY epoch
        LIMIT 1) AS shown ON true
 WHERE first.epoch = 0
    OR EXISTS (SELECT FROM tick WHERE epoch < first.epoch)
"""
SELECT_KEPT_SINCE: LiteralString = r"""
SELECT coalesce(min(substring(pg_get_expr(c.relpartbound, c.oid)
                              FROM 'FROM \(''(.+)''\) TO')::timestamptz), 'epoch'::timestamptz)
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'outbox'::regclass
"""
SELECT_DEAD_LETTERS: LiteralString = """
SELECT id, state, reason, queue, received_at
  FROM dead_letter
 WHERE message_id = %(message_id)s
 ORDER BY id
"""
MAY_READ_ACTS: LiteralString = "SELECT has_table_privilege('operator_action', 'SELECT')"
SELECT_ACTS: LiteralString = """
SELECT created_at, action, subject, outcome, operator, detail ->> 'message_id',
       detail ->> 'new_message_id', body IS NOT NULL
  FROM (SELECT *
          FROM operator_action
         WHERE detail ->> 'message_id' = %(message_id)s
         UNION
        SELECT *
          FROM operator_action
         WHERE detail ->> 'new_message_id' = %(message_id)s) AS act
 ORDER BY id
"""
SELECT_NEAREST: LiteralString = """
(SELECT message_id
   FROM historical_transactions
  WHERE message_id < %(message_id)s
  ORDER BY message_id DESC
  LIMIT 1)
 UNION ALL
(SELECT message_id
   FROM historical_transactions
  WHERE message_id > %(message_id)s
  ORDER BY message_id
  LIMIT 1)
"""
SELECT_LATEST_DEAD_LETTERS: LiteralString = """
SELECT id, reason, message_id
  FROM (SELECT id, reason, message_id, received_at
          FROM dead_letter
         ORDER BY id DESC
         LIMIT 5) AS last
 WHERE received_at > now() - interval '15 minutes'
"""

Found = tuple[int, int | None, str | None, datetime | None, str | None, int]


@contextlib.contextmanager
def reading(conn: psycopg.Connection) -> Iterator[None]:
    """Read at one snapshot while inside, and write nothing. `conn` is at rest."""
    with conn.transaction():
        conn.execute(READ_ONLY)
        conn.execute(INDEXES_ONLY)
        yield


def row(
    conn: psycopg.Connection, *, row_id: int | None = None, message_id: str | None = None
) -> Found | None:
    """Return id, provider, amount, time, identity and `xmin` of a row."""
    query = SELECT_ROW if message_id is None else SELECT_ROW_OF_MESSAGE
    return conn.execute(query, {"row_id": row_id, "message_id": message_id}).fetchone()


def removed(conn: psycopg.Connection, message_id: str) -> int | None:
    """Return the id that the row of a message had, if it was deleted and that is still known."""
    found = conn.execute(SELECT_REMOVED, {"message_id": message_id}).fetchone()
    return found[0] if found else None


def changes(
    conn: psycopg.Connection, row_id: int, stored_at: datetime | None, xmin: int | None
) -> list[tuple[Any, ...]]:
    """Return time, operation, provider, amount and xid of the row's outbox rows, oldest first."""
    given = {"row_id": row_id, "stored_at": stored_at, "xmin": xmin}
    found = conn.execute(SELECT_CHANGES, given).fetchall()
    if any(operation == "added" for _, operation, *_ in found):
        return found
    if bool(found) if stored_at is None else stored_at >= kept_since(conn):
        for query in (SELECT_ADDED_THEN, SELECT_ADDED):
            if added := conn.execute(query, given).fetchall():
                return added + found
    return found


def counted_in(conn: psycopg.Connection, xid: str) -> tuple[Any, ...] | None:
    """Return epoch, boundary and time of being shown of the first due tick that counted `xid`."""
    return conn.execute(SELECT_COUNTED, {"xid": xid}).fetchone()


def baseline(conn: psycopg.Connection) -> tuple[Any, ...] | None:
    """Return epoch, boundary, time of being shown and time of the baseline, if it is kept."""
    return conn.execute(SELECT_BASELINE).fetchone()


def kept_since(conn: psycopg.Connection) -> datetime:
    """Return the time that the oldest partition of the outbox begins."""
    ((found,),) = conn.execute(SELECT_KEPT_SINCE).fetchall()
    return found  # type: ignore[no-any-return]


def dead_letters(conn: psycopg.Connection, message_id: str) -> list[tuple[Any, ...]]:
    """Return the dead letters of an identity, oldest first."""
    return conn.execute(SELECT_DEAD_LETTERS, {"message_id": message_id}).fetchall()


def acts(conn: psycopg.Connection, message_id: str) -> list[tuple[Any, ...]] | None:
    """Return what operators did with an identity; None if this login may not know."""
    if conn.execute(MAY_READ_ACTS).fetchone() != (True,):
        return None
    return conn.execute(SELECT_ACTS, {"message_id": message_id}).fetchall()


def nearest(conn: psycopg.Connection, message_id: str) -> list[str]:
    """Return the identities that stand before and after one in order."""
    return [one for (one,) in conn.execute(SELECT_NEAREST, {"message_id": message_id})]


def latest_dead_letters(conn: psycopg.Connection) -> list[tuple[int, str, str]]:
    """Return id, reason and identity of at most five dead letters of the last 15 minutes."""
    return conn.execute(SELECT_LATEST_DEAD_LETTERS).fetchall()
