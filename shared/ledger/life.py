"""The life of one transaction: its row, the ticks that counted it, its dead letters, who acted.

Everything is asked at one snapshot and only read. The rows of `outbox` say which ticks counted the
transaction, as long as they are kept (OUTBOX_RETENTION_HOURS). What was there when a baseline was
taken has none: the baseline counted it.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import psycopg

from shared import postgres
from shared.ledger import life_store as store

State = Literal[
    "shown", "counted", "stored", "waiting", "open", "removed", "replayed", "purged", "unknown"
]
CountedBy = Literal["tick", "baseline", "older tick"]
REVERSAL = "reversal-of:"
"""Before the identity of the row that is taken back. The two may be longer than an identity may be:
no message has this one, and the column takes it."""


@dataclass(frozen=True, slots=True)
class CountedIn:
    """A due tick, and when KeyDB first showed it or a later one; None: not yet."""

    epoch: int
    boundary: datetime | None
    shown_at: datetime | None


@dataclass(frozen=True, slots=True)
class Row:
    """A row of `historical_transactions`; `amount` in minor units, as digits."""

    id: int
    provider_id: int | None
    amount: str | None
    stored_at: datetime | None


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of the row added to a balance; without `tick` the next one will count it."""

    at: datetime
    row_id: int
    operation: str
    provider_id: int
    amount: str
    tick: CountedIn | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter that is there now; `state` is `open` or `waiting`."""

    id: int
    state: str
    reason: str
    queue: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Act:
    """What an operator did with a message of this identity; `edited`: with another body or id."""

    at: datetime
    action: str
    subject: str
    outcome: str
    operator: str
    message_id: str | None
    new_message_id: str | None
    edited: bool


@dataclass(frozen=True, slots=True)
class Life:
    """All that is known of one transaction. Times are UTC; `epoch` and `boundary` are its tick's.

    `counted_by` is `baseline` where all was counted again after the row came, `older tick` where
    retention removed what says which; None: by no tick yet. `acts` is None for a login that may not
    read `operator_action`.
    """

    message_id: str | None
    state: State
    counted_by: CountedBy | None = None
    epoch: int | None = None
    boundary: datetime | None = None
    shown_at: datetime | None = None
    row: Row | None = None
    changes: list[Change] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    acts: list[Act] | None = None
    reversed_by: str | None = None
    next: list[str] = field(default_factory=list)
    """What to check next: where nothing is known, or something is to be done."""


def by_identity(conn: psycopg.Connection, message_id: str) -> Life:
    """Return the life of the message of this identity. Raises `Unavailable`."""
    with postgres.translating(), store.reading(conn):
        row = store.row(conn, message_id=message_id)
        return _life(conn, message_id, row, None if row else store.removed(conn, message_id))


def by_row(conn: psycopg.Connection, row_id: int) -> Life:
    """Return the life of the row of this id, also of one that is gone. Raises `Unavailable`."""
    with postgres.translating(), store.reading(conn):
        row = store.row(conn, row_id=row_id)
        return _life(conn, row[4] if row else None, row, row_id)


def _life(
    conn: psycopg.Connection, message_id: str | None, found: store.Found | None, gone: int | None
) -> Life:
    row = Row(*found[:4]) if found else None
    changes = _changes(conn, row, gone, found[5] if found else None)
    found_dead = store.dead_letters(conn, message_id) if message_id else []
    dead_letters = [DeadLetter(*one) for one in found_dead]
    rows = store.acts(conn, message_id) if message_id else []
    acts = None if rows is None else [Act(*one) for one in rows]
    by, tick = _counted(conn, row, changes)
    return Life(
        message_id=message_id,
        state=_state(row, by, tick, dead_letters, changes, acts),
        counted_by=by,
        epoch=tick.epoch if tick else None,
        boundary=tick.boundary if tick else None,
        shown_at=tick.shown_at if tick else None,
        row=row,
        changes=changes,
        dead_letters=dead_letters,
        acts=acts,
        reversed_by=_reversal(conn, message_id),
    )


def _changes(
    conn: psycopg.Connection, row: Row | None, gone: int | None, xmin: int | None
) -> list[Change]:
    row_id = row.id if row else gone
    if row_id is None:
        return []
    found = store.changes(conn, row_id, row.stored_at if row else None, xmin)
    return [
        Change(at, row_id, operation, provider_id, amount, _tick(conn, xid))
        for at, operation, provider_id, amount, xid in found
    ]


def _tick(conn: psycopg.Connection, xid: str) -> CountedIn | None:
    found = store.counted_in(conn, xid)
    return CountedIn(*found) if found else None


def _counted(
    conn: psycopg.Connection, row: Row | None, changes: list[Change]
) -> tuple[CountedBy | None, CountedIn | None]:
    """Say what counted the row first."""
    added = next((one for one in changes if one.operation == "added"), None)
    if added:
        return ("tick", added.tick) if added.tick else (None, None)
    baseline = store.baseline(conn) if row else None
    if row is None:
        return None, None
    if baseline and (row.stored_at is None or row.stored_at <= baseline[3]):
        return "baseline", CountedIn(*baseline[:3])
    if row.stored_at is None or row.stored_at < store.kept_since(conn):
        return "older tick", None
    return None, None


def _state(  # noqa: PLR0913, PLR0917 - the facts that decide it
    row: Row | None,
    by: CountedBy | None,
    tick: CountedIn | None,
    dead_letters: list[DeadLetter],
    changes: list[Change],
    acts: list[Act] | None,
) -> State:
    if row:
        if by == "older tick" or (tick and tick.shown_at):
            return "shown"
        return "counted" if tick else "stored"
    if dead_letters:
        return "waiting" if any(one.state == "waiting" for one in dead_letters) else "open"
    if changes:
        return "removed"
    done: dict[str, State] = {"dead_letter_replayed": "replayed", "dead_letter_purged": "purged"}
    return done[acts[-1].action] if acts and acts[-1].action in done else "unknown"


def _reversal(conn: psycopg.Connection, message_id: str | None) -> str | None:
    if message_id is None:
        return None
    identity = REVERSAL + message_id
    return identity if store.row(conn, message_id=identity) else None
