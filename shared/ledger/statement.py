"""A statement: what moved one provider's balance between two ticks, movement by movement.

The ticks' own balances are exact. Movements are itemised from two places:

- As long as the outbox has its rows, each tick's are those that its snapshot sees and that of the
  tick before does not (PgQ's technique): exactly what it counted.
- Before that, they are the rows of `historical_transactions` that came in that time, as they are
  now, but for those that the outbox has for a later tick: their transactions committed late. What
  was changed or deleted since, and changes of the provider itself, are not among them.

Where the movements do not add up to the ticks' balances, a movement `not_itemised` is the rest.
"""

import contextlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, LiteralString, NamedTuple

import psycopg

from shared import postgres
from shared.errors import Refusal
from shared.ledger import arrival, history, statement_store

AT_ONCE = 2000
"""Rows read at once: so much memory a statement needs, however long it is."""
TICKS_AT_ONCE = 64
"""Asked for by one question: one for each would take longer to ask than to answer."""
NOT_ITEMISED = "not_itemised"


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
    """A row of `SELECT_CHANGES`: a tick that changed the balance."""

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


@contextlib.contextmanager
def statement(
    conn: psycopg.Connection, provider_id: int, after: datetime | None, until: datetime
) -> Iterator[Statement]:
    """Have the statement of the ticks in (after, until], times with a time zone.

    Without `after` it begins with the oldest tick that is kept.

    The caller holds a transaction, REPEATABLE READ. Movements are read while inside: at the end
    their cursor is closed, before somebody else may have the connection. Raises
    `Unanswerable` for a time before the oldest tick, `Refusal` for a provider that never was, and
    `Unavailable`.
    """
    with postgres.translating():
        conn.execute("SET LOCAL enable_seqscan = off")
        ((known,),) = conn.execute(
            statement_store.SELECT_KNOWN, {"provider_id": provider_id}
        ).fetchall()
        if not known:
            raise Refusal(f"there is no provider {provider_id}, and there never was one")
        opening = _at(conn, provider_id, after or history.oldest_boundary(conn))
        closing = _at(conn, provider_id, until)
        ticks = {"after": opening.end.epoch, "until": closing.end.epoch}
        asked = {"provider_id": provider_id, **ticks}
        changes = [Change(*row) for row in conn.execute(statement_store.SELECT_CHANGES, asked)]
    with contextlib.closing(_movements(conn, provider_id, opening, changes)) as movements:
        yield Statement(provider_id, opening.end, closing.end, movements)


def _at(conn: psycopg.Connection, provider_id: int, at: datetime) -> _At:
    asked = {"provider_id": provider_id, "at": at}
    ((oldest, epoch, boundary, key, balance, folded_at),) = conn.execute(
        history.SELECT_BALANCE, asked
    ).fetchall()
    if epoch is None:
        raise history.unanswerable(at, oldest)
    return _At(End(epoch, boundary, balance or "0", key), folded_at)


def _movements(
    conn: psycopg.Connection, provider_id: int, opening: _At, changes: list[Change]
) -> Generator[Movement]:
    with postgres.translating():
        balance = int(opening.end.balance)
        for rows, counted_by, last in _parts(conn, provider_id, opening, changes):
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
    conn: psycopg.Connection, provider_id: int, opening: _At, changes: list[Change]
) -> Iterator[_Part]:
    """Yield rows of movements, the tick that counted them if that is known, and the last tick."""
    old = [one for one in changes if one.before is None]  # all of them before the others
    if old:
        yield _old_rows(conn, provider_id, opening.folded_at, old[-1]), None, old[-1]
    for first in range(len(old), len(changes), TICKS_AT_ONCE):
        yield from _counted(conn, provider_id, changes[first : first + TICKS_AT_ONCE])


def _counted(conn: psycopg.Connection, provider_id: int, changes: list[Change]) -> Iterator[_Part]:
    asked = {
        "provider_id": provider_id,
        "snapshots": [one.snapshot for one in changes],
        "befores": [one.before for one in changes],
    }
    rows = _read(conn, statement_store.SELECT_MOVEMENTS, asked)
    for change, (_, own) in zip(changes, groupby(rows, itemgetter(0)), strict=True):
        counted = (row[1:] for row in own if row[2] is not None)
        yield counted, (change.due_epoch, change.boundary), change


def _old_rows(
    conn: psycopg.Connection, provider_id: int, after: datetime, last: Change
) -> Iterator[_Row]:
    asked = {"provider_id": provider_id} | arrival.between(conn, after, last.folded_at)
    tick = {"snapshot": last.snapshot, "epoch": last.epoch, "ticks": arrival.LATE_TICKS}
    late = [one for (one,) in conn.execute(arrival.SELECT_LATE, asked | tick)]
    return _read(conn, arrival.SELECT_ARRIVED, asked | {"late": late})


def _read(
    conn: psycopg.Connection, query: LiteralString, values: Mapping[str, object]
) -> Iterator[Any]:
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
