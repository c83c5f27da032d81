"""A statement: what moved one provider's balance between two ticks, movement by movement.

The ticks' own balances are exact. Movements are itemised from two places:

- As long as the outbox has its rows, each tick's are those that its snapshot sees and that of the
  tick before does not (PgQ's technique): exactly what it counted.
- Before that, they are the rows of `historical_transactions` that came in that time, as they are
  now, but for those that the outbox has for a later tick: their transactions committed late. What
  was changed or deleted since, and changes of the provider itself, are not among them.

Where the movements do not add up to the ticks' balances, a movement `not_itemised` is the rest.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString, NamedTuple

import psycopg

from shared import postgres
from shared.errors import Refusal
from shared.ledger import history

AT_ONCE = 2000
"""Rows read at once: so much memory a statement needs, however long it is."""
LATE_TICKS = 10
"""A row that came before a tick and committed after it is looked for in so many ticks after it."""
NOT_ITEMISED = "not_itemised"

# The last due tick at or before a time, and the provider's balance then. `retained` is where the
# outbox begins: all rows of transactions above it are there.
SELECT_AT: LiteralString = """
SELECT oldest.boundary, t.epoch, t.boundary, t.folded_at, b.key, coalesce(b.balance, 0)::text
  FROM (SELECT min(boundary) AS boundary FROM tick) AS oldest
  LEFT JOIN LATERAL (
       SELECT epoch, boundary, folded_at
         FROM tick
        WHERE boundary <= %(at)s
        ORDER BY boundary DESC
        LIMIT 1
       ) AS t ON true
  LEFT JOIN LATERAL (
       SELECT key, balance
         FROM balance
        WHERE provider_id = %(provider_id)s
          AND epoch <= t.epoch
        ORDER BY epoch DESC
        LIMIT 1
       ) AS b ON true
"""
SELECT_KNOWN: LiteralString = """
SELECT EXISTS (SELECT FROM initial_data WHERE id = %(provider_id)s)
    OR EXISTS (SELECT FROM balance WHERE provider_id = %(provider_id)s)
"""
# Ticks that changed the balance, each with the snapshot of the tick before it. Without one, and if
# not all of its rows are in the outbox any more, `before` is NULL.
SELECT_CHANGES: LiteralString = """
SELECT t.epoch, due.epoch, due.boundary, t.folded_at, b.balance::text, t.snapshot::text,
       CASE
       WHEN before.system_identifier = t.system_identifier
        AND t.system_identifier = (SELECT system_identifier FROM pg_control_system())
        AND pg_snapshot_xmin(before.snapshot) > ALL (
            SELECT last_xid
              FROM outbox_dropped
             WHERE system_identifier = t.system_identifier)
       THEN before.snapshot::text END
  FROM balance b
  JOIN tick t ON t.epoch = b.epoch
  LEFT JOIN LATERAL (
       SELECT snapshot, system_identifier
         FROM tick
        WHERE epoch < t.epoch
        ORDER BY epoch DESC
        LIMIT 1
       ) AS before ON true
  LEFT JOIN LATERAL (
       SELECT epoch, boundary
         FROM tick
        WHERE epoch >= t.epoch
          AND NOT interim
        ORDER BY epoch
        LIMIT 1
       ) AS due ON true
 WHERE b.provider_id = %(provider_id)s
   AND b.epoch > %(after)s
   AND b.epoch <= %(until)s
 ORDER BY b.epoch
"""
SELECT_MOVEMENTS: LiteralString = """
SELECT o.created_at, o.operation, o.amount::text, o.transaction_id, h.message_id, o.reason
  FROM outbox o
  LEFT JOIN historical_transactions h ON h.id = o.transaction_id
                                     AND o.operation = 'added'
 WHERE (o.xid >= %(xmax_before)s::xid8 AND o.xid < %(xmax)s::xid8
        OR o.xid = ANY (%(xip_before)s::xid8[]))
   AND pg_visible_in_snapshot(o.xid, %(snapshot)s::pg_snapshot)
   AND o.provider_id = %(provider_id)s
 ORDER BY o.id
"""
SELECT_OLD_MOVEMENTS: LiteralString = """
SELECT created_at, 'added', transaction_value::text, id, message_id, NULL
  FROM historical_transactions
 WHERE created_at > %(after)s
   AND created_at <= %(until)s
   AND provider_id = %(provider_id)s
   AND id <> ALL (%(late)s::bigint[])
 ORDER BY created_at, id
"""
# What came until a tick and is counted by a later one: it is a line of that tick, and no other.
SELECT_LATE: LiteralString = """
SELECT transaction_id
  FROM outbox
 WHERE (xid >= pg_snapshot_xmax(%(snapshot)s::pg_snapshot)
        OR xid = ANY (ARRAY(SELECT pg_snapshot_xip(%(snapshot)s::pg_snapshot))))
   AND xid < coalesce((SELECT pg_snapshot_xmax(snapshot)
                         FROM tick
                        WHERE epoch > %(epoch)s
                        ORDER BY epoch
                       OFFSET %(ticks)s - 1
                        LIMIT 1),
                      pg_snapshot_xmax(pg_current_snapshot()))
   AND created_at <= %(until)s
   AND provider_id = %(provider_id)s
   AND operation = 'added'
   AND transaction_id IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Movement:
    """One line of a statement; amounts are minor units, as decimal strings.

    `operation` is that of the outbox row (added, modified, removed, repaired), or `not_itemised`.
    A change of a transaction is two lines, what it said before taken back. Without a `transaction`
    it is the provider that changed. `epoch` and `boundary` are those of the tick that counted it,
    null where that is no longer known. `balance` is what the account came to.
    """

    at: datetime
    operation: str
    amount: str
    balance: str
    transaction: int | None
    message_id: str | None
    epoch: int | None
    boundary: datetime | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class End:
    """How a statement begins or ends: a tick, and the provider's balance in it."""

    epoch: int
    boundary: datetime
    balance: str
    key: str | None


class Change(NamedTuple):
    """A row of `SELECT_CHANGES`."""

    epoch: int
    due_epoch: int | None
    boundary: datetime | None
    folded_at: datetime
    balance: str
    snapshot: str
    before: str | None


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of one provider; `movements` can be read once, inside `statement`."""

    provider_id: int
    opening: End
    closing: End
    movements: Iterator[Movement]


_Row = tuple[datetime, str, str, int | None, str | None, str | None]
_Part = tuple[Iterator[_Row], tuple[int | None, datetime | None] | None, Change]


class _At(NamedTuple):
    end: End
    folded_at: datetime


def statement(
    conn: psycopg.Connection, provider_id: int, after: datetime, until: datetime
) -> Statement:
    """Return the statement of the ticks in (after, until], times with a time zone.

    The caller holds a transaction, REPEATABLE READ, in which the movements are read. Raises
    `Unanswerable` for a time before the oldest tick, `Refusal` for a provider that never was, and
    `Unavailable`.
    """
    with postgres.translating():
        conn.execute("SET LOCAL enable_seqscan = off")
        ((known,),) = conn.execute(SELECT_KNOWN, {"provider_id": provider_id}).fetchall()
        if not known:
            raise Refusal(f"there is no provider {provider_id}, and there never was one")
        opening = _at(conn, provider_id, after)
        closing = _at(conn, provider_id, until)
    movements = _movements(conn, provider_id, opening, closing)
    return Statement(provider_id, opening.end, closing.end, movements)


def _at(conn: psycopg.Connection, provider_id: int, at: datetime) -> _At:
    row = conn.execute(SELECT_AT, {"provider_id": provider_id, "at": at}).fetchone()
    oldest, epoch, boundary, folded_at, key, balance = row or (None,) * 6
    if epoch is None:
        raise history.unanswerable(at, oldest)
    return _At(End(epoch, boundary, balance, key), folded_at)


def _movements(
    conn: psycopg.Connection, provider_id: int, opening: _At, closing: _At
) -> Iterator[Movement]:
    with postgres.translating():
        balance = int(opening.end.balance)
        for rows, counted_by, last in _parts(conn, provider_id, opening, closing):
            epoch, boundary = counted_by or (None, None)
            for at, operation, amount, transaction, message_id, reason in rows:
                balance += int(amount)
                origin = (transaction, message_id, epoch, boundary, reason)
                yield Movement(at, operation, amount, str(balance), *origin)
            if rest := int(last.balance) - balance:
                balance += rest
                origin = (None, None, last.due_epoch, last.boundary, None)
                yield Movement(last.folded_at, NOT_ITEMISED, str(rest), last.balance, *origin)


def _parts(
    conn: psycopg.Connection, provider_id: int, opening: _At, closing: _At
) -> Iterator[_Part]:
    """Yield rows of movements, the tick that counted them if that is known, and the last tick."""
    asked = {"provider_id": provider_id, "after": opening.end.epoch, "until": closing.end.epoch}
    changes = [Change(*row) for row in conn.execute(SELECT_CHANGES, asked)]
    old = [one for one in changes if one.before is None]  # all of them before the others
    if old:
        yield _old_rows(conn, provider_id, opening.folded_at, old[-1]), None, old[-1]
    for change in changes[len(old) :]:
        rows = _read(
            conn, SELECT_MOVEMENTS, {"provider_id": provider_id, **what_it_counted(change)}
        )
        yield rows, (change.due_epoch, change.boundary), change


def _old_rows(
    conn: psycopg.Connection, provider_id: int, after: datetime, last: Change
) -> Iterator[_Row]:
    asked = {"provider_id": provider_id, "after": after, "until": last.folded_at}
    tick = {"snapshot": last.snapshot, "epoch": last.epoch, "ticks": LATE_TICKS}
    late = [one for (one,) in conn.execute(SELECT_LATE, asked | tick)]
    return _read(conn, SELECT_OLD_MOVEMENTS, asked | {"late": late})


def _read(
    conn: psycopg.Connection, query: LiteralString, values: dict[str, object]
) -> Iterator[_Row]:
    with conn.cursor("statement") as cursor:
        cursor.itersize = AT_ONCE
        yield from cursor.execute(query, values)


def what_it_counted(change: Change) -> dict[str, object]:
    """Return the parameters that say what a tick counted and the tick before had not."""
    _, xmax_before, xip_before = (change.before or "0:0:").split(":")
    return {
        "snapshot": change.snapshot,
        "xmax": change.snapshot.split(":")[1],
        "xmax_before": xmax_before,
        "xip_before": xip_before.split(",") if xip_before else [],
    }
