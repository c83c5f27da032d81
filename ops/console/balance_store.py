"""A page of balances in SQL, by index only: what it costs does not grow with what is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString, NamedTuple

import psycopg

from shared import postgres, postgres_pool
from shared.ledger.statement import Change, what_it_counted

OPTIONS = f"{postgres_pool.OPTIONS} -c enable_sort=off"
"""Of connections: of a table that was never analysed all would be read and sorted, for one row."""
MINUTES = 60
COUNTED_ROWS_MAX = 100_000
"""Rows of a tick up to which its transactions are counted by provider."""
MOVED_MAX, SEARCHED_MAX = 5000, 10_000
"""How many balances of a tick are put in order of their change; how many names a search reads."""

# The newest due tick until a time and the one before it: what it counted lies between the two.
SELECT_LAST: LiteralString = """
SELECT t.epoch, t.boundary, t.snapshot::text, before.epoch, before.snapshot::text, n.rows::bigint,
       before.boundary
  FROM (SELECT epoch, boundary, snapshot, system_identifier
          FROM tick
         WHERE boundary <= %(at)s
         ORDER BY boundary DESC
         LIMIT 1) AS t
  LEFT JOIN LATERAL (
       SELECT epoch, snapshot, boundary
         FROM tick
        WHERE epoch < t.epoch
          AND NOT interim
          AND system_identifier = t.system_identifier
        ORDER BY epoch DESC
        LIMIT 1
       ) AS before ON true
  LEFT JOIN LATERAL (
       SELECT sum(rows) AS rows
         FROM tick
        WHERE epoch > before.epoch
          AND epoch <= t.epoch
       ) AS n ON true
"""
# Of each provider the newest balance by the primary key: in the order of epochs alone, all that is
# kept might be read for one that seldom moves. When it moved is not known once its tick is gone.
SELECT_ROWS: LiteralString = """
SELECT p.id, b.key, b.balance::text, t.boundary
  FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS p (id, place)
 CROSS JOIN LATERAL (
       SELECT key, balance, epoch
         FROM balance
        WHERE provider_id BETWEEN p.id AND p.id
          AND epoch <= %(epoch)s
        ORDER BY provider_id DESC, epoch DESC
        LIMIT 1
       ) AS b
  LEFT JOIN LATERAL (
       SELECT boundary
         FROM tick
        WHERE epoch >= b.epoch
          AND NOT interim
          AND EXISTS (SELECT FROM tick own WHERE own.epoch = b.epoch)
        ORDER BY epoch
        LIMIT 1
       ) AS t ON true
 WHERE b.key IS NOT NULL
 ORDER BY p.place
"""
# The balance at each of the last minutes, oldest first: so many look-ups, however much is kept.
SELECT_MINUTES: LiteralString = """
WITH minute AS MATERIALIZED (
    SELECT n, t.epoch
      FROM generate_series(0, %(minutes)s) AS n
      LEFT JOIN LATERAL (
           SELECT epoch
             FROM tick
            WHERE boundary <= %(boundary)s::timestamptz - n * interval '1 minute'
            ORDER BY boundary DESC
            LIMIT 1
           ) AS t ON true
)
SELECT p.id, array_agg(b.balance::text ORDER BY m.n DESC)
  FROM unnest(%(ids)s::bigint[]) AS p (id)
 CROSS JOIN minute m
  LEFT JOIN LATERAL (
       SELECT balance
         FROM balance
        WHERE provider_id BETWEEN p.id AND p.id
          AND epoch <= m.epoch
        ORDER BY provider_id DESC, epoch DESC
        LIMIT 1
       ) AS b ON true
 GROUP BY p.id
"""
COUNT_TRANSACTIONS: LiteralString = """
SELECT provider_id, count(*)
  FROM outbox
 WHERE (xid >= %(xmax_before)s::xid8 AND xid < %(xmax)s::xid8
        OR xid = ANY (%(xip_before)s::xid8[]))
   AND pg_visible_in_snapshot(xid, %(snapshot)s::pg_snapshot)
   AND operation = 'added'
   AND transaction_id IS NOT NULL
 GROUP BY provider_id
"""
SELECT_MOVED: LiteralString = """
SELECT b.provider_id, abs(b.balance - coalesce(p.balance, 0))::text
  FROM (SELECT DISTINCT ON (provider_id) provider_id, balance
          FROM (SELECT provider_id, epoch, balance
                  FROM balance
                 WHERE epoch > %(before)s
                   AND epoch <= %(epoch)s
                 LIMIT %(moved)s) AS changed
         ORDER BY provider_id, epoch DESC) AS b
  LEFT JOIN LATERAL (
       SELECT balance
         FROM balance
        WHERE provider_id BETWEEN b.provider_id AND b.provider_id
          AND epoch <= %(before)s
        ORDER BY provider_id DESC, epoch DESC
        LIMIT 1
       ) AS p ON true
 ORDER BY abs(b.balance - coalesce(p.balance, 0)) DESC, b.provider_id
"""
SEARCH: LiteralString = """
SELECT id, is_last, id::text || '_' || provider_name ILIKE %(pattern)s
  FROM (SELECT id, provider_name, row_number() OVER (ORDER BY id) = %(searched)s AS is_last
          FROM (SELECT id, provider_name
                  FROM initial_data
                 WHERE id > %(after)s
                 ORDER BY id
                 LIMIT %(searched)s) AS those) AS numbered
 WHERE is_last
    OR id::text || '_' || provider_name ILIKE %(pattern)s
 ORDER BY id
 LIMIT %(most)s
"""


class Moved(NamedTuple):
    """A provider that a tick changed; they sort by `place`, minus the change without its sign."""

    place: int
    provider_id: int


@dataclass(frozen=True, slots=True)
class Last:
    """The newest due tick, and the one before it if that is known; a baseline has no boundary."""

    epoch: int
    boundary: datetime
    snapshot: str
    before: int | None
    snapshot_before: str | None
    rows: int | None
    boundary_before: datetime | None = None


def last(conn: psycopg.Connection, at: datetime) -> Last | None:
    """Return the newest due tick until `at`; None before the first."""
    with postgres.translating():
        row = conn.execute(SELECT_LAST, {"at": at}).fetchone()
    return Last(*row) if row else None


def rows(
    conn: psycopg.Connection, ids: Sequence[int], epoch: int
) -> list[tuple[int, str, str, datetime | None]]:
    """Return id, key, balance and when it last moved, of those that exist in tick `epoch`."""
    with postgres.translating():
        return conn.execute(SELECT_ROWS, {"ids": list(ids), "epoch": epoch}).fetchall()


def minutes(
    conn: psycopg.Connection, ids: Sequence[int], boundary: datetime
) -> dict[int, list[str | None]]:
    """Return the balances at `boundary` and the 60 minutes before, oldest first."""
    asked = {"ids": list(ids), "boundary": boundary, "minutes": MINUTES}
    with postgres.translating():
        return dict(conn.execute(SELECT_MINUTES, asked).fetchall())


def transactions(conn: psycopg.Connection, tick: Last) -> dict[int, int] | None:
    """Return how many transactions a tick counted by provider; None where they are too many."""
    if tick.snapshot_before is None or (tick.rows or 0) > COUNTED_ROWS_MAX:
        return None
    change = Change(
        tick.epoch, tick.epoch, tick.boundary, tick.boundary, "0", tick.snapshot,
        tick.snapshot_before,
    )  # fmt: skip
    with postgres.translating():
        return dict(conn.execute(COUNT_TRANSACTIONS, what_it_counted(change)).fetchall())


def moved(conn: psycopg.Connection, tick: Last) -> list[Moved]:
    """Return the providers that a tick changed, most first, up to `MOVED_MAX`."""
    if tick.before is None:
        return []
    asked = {"epoch": tick.epoch, "before": tick.before, "moved": MOVED_MAX}
    with postgres.translating():
        return [Moved(-int(by), one) for one, by in conn.execute(SELECT_MOVED, asked)]


def search(
    conn: psycopg.Connection, text: str, after: int, most: int
) -> tuple[list[int], int | None]:
    """Return providers with `text` in their key, and after which one to go on, if there are more.

    Reads `SEARCHED_MAX` names at most.
    """
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    asked = {"pattern": f"%{escaped}%", "after": after, "searched": SEARCHED_MAX, "most": most}
    with postgres.translating():
        found = conn.execute(SEARCH, asked).fetchall()
    ids = [provider_id for provider_id, _, fits in found if fits]
    goes_on = bool(found) and (found[-1][1] or len(found) == most)
    return ids, found[-1][0] if goes_on else None
