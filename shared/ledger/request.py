"""What is known of requests, as documents: for operators, for HTTP, and as replies.

What was decided is read as the tracker wrote it; what is open is looked up, so that a document is
as new as the question. docs/requests.md.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, LiteralString, get_args

import msgspec
import psycopg

from shared import postgres
from shared.ledger import request_store as store

State = Literal["pending", "running", "done", "failed"]
STATES = get_args(State)
Place = tuple[datetime, str]
"""Where a request stands in lists: when it was accepted, and its key."""


@dataclass(frozen=True, slots=True)
class ItemError:
    """An item, counted from 0, that is no row and will be none by itself."""

    item: int
    reason: str
    error: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is decided of a request: how many items are rows, and what is wrong with the others."""

    stored: int = 0
    errors: tuple[ItemError, ...] = ()

    def joined(self, stored: int, errors: Iterable[ItemError]) -> "Outcome":
        """Return the same with more items decided."""
        both = sorted((*self.errors, *errors), key=lambda one: one.item)
        return Outcome(self.stored + stored, tuple(both))


@dataclass(frozen=True, slots=True)
class Document:
    """What is said of a request: every item is one of stored, dead, waiting and missing.

    `dead` are dead letters and conflicts by reason, one by one in `errors`. `waiting` ones wait for
    their provider; `missing` ones are on their way. `seconds` are from `accepted_at` to
    `decided_at`. `counted_by` is the boundary of the first tick that has counted all of it,
    `shown_at` when KeyDB showed that.
    """

    request: str
    state: State
    items: int
    stored: int
    dead: dict[str, int]
    waiting: int
    missing: int
    errors: tuple[ItemError, ...]
    accepted_at: datetime
    published_at: datetime | None
    decided_at: datetime | None
    seconds: float | None
    counted_by: datetime | None
    shown_at: datetime | None


@dataclass(frozen=True, slots=True)
class Asked:
    """Who sent a request, and the digest of what it asks (`shared.request_message`)."""

    by: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """A request as the table has it."""

    key: str
    kind: str
    by: str
    state: State
    items: int
    outcome: Outcome
    accepted_at: datetime
    published_at: datetime | None
    decided_at: datetime | None
    counted_by: datetime | None
    shown_at: datetime | None
    reply_to: str | None
    replied_at: datetime | None
    error: str | None

    def document(self, waiting: int = 0) -> Document:
        """Return the document of what is decided; so many of the other items wait."""
        return _document(self, self.outcome, waiting)


@dataclass(frozen=True, slots=True)
class Tracked:
    """A request's document, and what only operators are told: who sent it, and of its reply."""

    document: Document
    known: Known = field(repr=False)


def asked(conn: psycopg.Connection, key: str) -> Asked | None:
    """Return what is known under a key, None if nothing is. Raises `Unavailable`."""
    with postgres.translating():
        row = conn.execute(store.SELECT_ASKED, {"key": key}).fetchone()
    return Asked(*row) if row else None


def document(conn: psycopg.Connection, key: str) -> Document | None:
    """Return what is known of a request, None if nothing is. Raises `Unavailable`."""
    found = tracked(conn, key)
    return found.document if found else None


def tracked(conn: psycopg.Connection, key: str) -> Tracked | None:
    """Return the same with what operators are told."""
    with postgres.translating():
        rows = conn.execute(store.SELECT_REQUEST, {"key": key}).fetchall()
        return next(iter(_tracked(conn, rows)), None)


def newest(
    conn: psycopg.Connection, *, state: State | None, before: Place | None, most: int
) -> list[Tracked]:
    """Return the newest requests, of one state or of all, accepted before a place in the list.

    `state` is the one that the tracker wrote down last: what is open is looked up afterwards.
    Raises `Unavailable`.
    """
    accepted_at, key = before or ("infinity", "")
    given = {"state": state, "accepted_at": accepted_at, "key": key, "most": most}
    query: LiteralString = store.SELECT_NEWEST_OF_STATE if state else store.SELECT_NEWEST
    with postgres.translating():
        return _tracked(conn, conn.execute(query, given).fetchall())


def place(found: Document) -> Place:
    """Return where a document stands in lists."""
    return found.accepted_at, found.request


def known(row: Sequence[Any]) -> Known:
    """Return what a row of `request_store.COLUMNS` says."""
    columns = list(row)
    columns[5] = msgspec.convert(columns[5] or {}, Outcome)
    return Known(*columns)


def _tracked(conn: psycopg.Connection, rows: Sequence[Sequence[Any]]) -> list[Tracked]:
    found = [known(row) for row in rows]
    open_ones = [one.key for one in found if one.decided_at is None]
    fates = _fates(conn, open_ones) if open_ones else {}
    return [Tracked(_as_of_now(one, *fates.get(one.key, (0, 0, ()))), one) for one in found]


def _fates(
    conn: psycopg.Connection, keys: Sequence[str]
) -> dict[str, tuple[int, int, tuple[ItemError, ...]]]:
    with conn.transaction():
        conn.execute("SET LOCAL enable_seqscan = off")
        rows = conn.execute(store.SELECT_FATES, {"ids": list(keys)}).fetchall()
    return {
        key: (stored, waiting, msgspec.convert(errors or [], tuple[ItemError, ...]))
        for key, stored, waiting, errors in rows
    }


def _as_of_now(found: Known, stored: int, waiting: int, errors: tuple[ItemError, ...]) -> Document:
    return _document(found, found.outcome.joined(stored, errors), waiting)


def _document(found: Known, outcome: Outcome, waiting: int) -> Document:
    state = found.state
    if state == "pending" and (outcome.stored or waiting):
        state = "running"
    seconds = None
    if found.decided_at is not None:
        seconds = round((found.decided_at - found.accepted_at).total_seconds(), 3)
    return Document(
        request=found.key,
        state=state,
        items=found.items,
        stored=outcome.stored,
        dead=dict(Counter(one.reason for one in outcome.errors)),
        waiting=waiting,
        missing=found.items - outcome.stored - len(outcome.errors) - waiting,
        errors=outcome.errors,
        accepted_at=found.accepted_at,
        published_at=found.published_at,
        decided_at=found.decided_at,
        seconds=seconds,
        counted_by=found.counted_by,
        shown_at=found.shown_at,
    )
