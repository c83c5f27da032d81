"""The feed's SQL: what a tick counted and changed, read again from its snapshot.

The rows that it counted are those that its snapshot sees and that of the due tick before does not.
Many rows are read by cursors that outlive their transaction (WITH HOLD): none is open while events
are published, however long that takes.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from shared import postgres
from shared.follower_store import Span
from shared.ledger.balances import NEWEST_BALANCES

OPTIONS = (
    "-c plan_cache_mode=force_custom_plan -c enable_seqscan=off"
    # However many rows a tick counted, one statement may sort them.
    " -c statement_timeout=15min"
    # The workers of a large read would take the processors from ticks and ingest.
    " -c max_parallel_workers_per_gather=0"
)
"""Of the connection that reads."""
ROWS_FEW = 20_000
"""A tick of so many rows is read at once, which saves Postgres half of the work."""
ROWS_PER_BATCH = 500

# In the order of the outbox's ids, so in order for each provider. Identities are looked up one by
# one, by the index, however large the table is.
SELECT_CHANGES: LiteralString = """
SELECT o.id, o.transaction_id, o.provider_id, o.amount::text, o.operation, o.traceparent,
       h.message_id
  FROM outbox o
  LEFT JOIN LATERAL (
       SELECT message_id
         FROM historical_transactions
        WHERE id = o.transaction_id
        LIMIT 1
       ) AS h ON true
 WHERE (o.xid >= %(first_xmax)s::xid8 AND o.xid < %(last_xmax)s::xid8
        OR o.xid = ANY (%(first_xip)s::xid8[]))
   AND o.xid <> ALL (%(last_xip)s::xid8[])
 ORDER BY o.id
"""

# Balances that came to what they were before, under the same key, are no change.
SELECT_BALANCES: LiteralString = """
SELECT c.provider_id, c.key, c.balance::text, b.key, b.balance::text
  FROM (SELECT DISTINCT ON (provider_id) provider_id, key, balance
          FROM balance
         WHERE epoch > %(before)s
           AND epoch <= %(epoch)s
         ORDER BY provider_id, epoch DESC) AS c
  LEFT JOIN LATERAL (
       SELECT key, balance
         FROM balance
        WHERE provider_id = c.provider_id
          AND epoch <= %(before)s
        ORDER BY epoch DESC
        LIMIT 1
       ) AS b ON true
 WHERE c.balance <> coalesce(b.balance, 0)
    OR c.key COLLATE "C" IS DISTINCT FROM b.key
 ORDER BY c.provider_id
"""

# A provider that is gone is left out, unless something of it was left.
SELECT_ALL: LiteralString = (
    """
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT %(epoch)s::bigint AS epoch
), """  # noqa: S608 - put together from constants
    + NEWEST_BALANCES
    + """
SELECT provider_id, key, balance::text
  FROM newest_balance
 WHERE key IS NOT NULL
    OR balance <> 0
 ORDER BY provider_id
"""
)

# What a tick added, and under which id the one before it was closed: an id of its token, but for
# one at which the feed started anew. No amount if the tick before is no longer kept: then what was
# before its balances may be gone, too.
SELECT_CLOSING: LiteralString = """
SELECT sum(amount)::text,
       coalesce((SELECT closed_id
                   FROM follower
                  WHERE name = 'feed'
                    AND starts_with(closed_id, %(before_token)s::text || ':')),
                %(before_token)s::text || ':tick')
  FROM tick
 WHERE epoch > %(before)s
   AND epoch <= %(epoch)s
   AND EXISTS (SELECT FROM tick WHERE epoch = %(before)s AND token = %(before_token)s)
"""
NOTE_CLOSED_ID: LiteralString = """
UPDATE follower
   SET closed_id = %(closed_id)s
 WHERE name = 'feed'
"""

STATEMENTS = (
    SELECT_CHANGES, SELECT_BALANCES, SELECT_ALL, SELECT_CLOSING, NOTE_CLOSED_ID,
)  # fmt: skip
"""What the feed needs beside its position: tried out at each connection."""

COUNT = sql.SQL("MOVE FORWARD ALL IN {}")
BACK = sql.SQL("MOVE ABSOLUTE 0 IN {}")

Given = dict[str, object]


class Found:
    """The rows of one query: few are here at once, many are kept by Postgres until they are read.

    Or until this is closed.
    """

    def __init__(self, conn: psycopg.Connection, query: LiteralString, *, few: bool) -> None:
        """Ask nothing yet."""
        self._conn = conn
        self._query = query
        held = partial(conn.cursor, f"feed_{id(self)}", scrollable=True, withhold=True)
        self._cursor = conn.cursor() if few else held()
        self.close = self._cursor.close

    def find(self, given: Given) -> None:
        """Have Postgres find them all: seconds for a million."""
        self._cursor.execute(self._query, given)

    def count(self) -> int:
        """Return how many there are. Before any is read."""
        if not isinstance(self._cursor, psycopg.ServerCursor):
            return self._cursor.rowcount
        name = sql.Identifier(self._cursor.name)
        moved = self._conn.execute(COUNT.format(name)).statusmessage or ""
        self._conn.execute(BACK.format(name))
        return int(moved.rpartition(" ")[2])

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """Yield all of them, some at a time."""
        while batch := self._cursor.fetchmany(ROWS_PER_BATCH):
            yield batch


def span_of(span: Span) -> Given:
    """Return the parameters of all statements about a tick and the one before it."""
    return {
        "before": span.before.epoch,
        "before_token": span.before.token,
        "epoch": span.tick.epoch,
        **_parsed("first", span.before.snapshot),
        **_parsed("last", span.tick.snapshot),
    }


def closing(conn: psycopg.Connection, span: Span) -> tuple[str | None, str]:
    """Return what a tick added to all balances, and the id under which the one before was closed.

    None: the tick before is no longer kept.
    """
    ((added, previous_id),) = conn.execute(SELECT_CLOSING, span_of(span)).fetchall()
    return added, previous_id


def confirm_session(conn: psycopg.Connection) -> str:
    """Raise psycopg's error if the session is gone, and with it our lock; else add nothing."""
    return postgres.scalar(conn, "SELECT 0")


def note_closed_id(conn: psycopg.Connection, closed_id: str) -> bool:
    """Note under which id a tick is closed at which the feed starts anew; False without a row."""
    return conn.execute(NOTE_CLOSED_ID, {"closed_id": closed_id}).rowcount == 1


def _parsed(which: str, snapshot: str) -> Given:
    # From its text here, so that Postgres plans for few rows, as the syncer does.
    _, xmax, xip = snapshot.split(":")
    return {f"{which}_xmax": xmax, f"{which}_xip": xip.split(",") if xip else []}
