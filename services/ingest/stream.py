"""Reading a RabbitMQ stream: the broker's offset is the identity, stored with the rows.

A stream keeps what was read, so a reader has to know how far it came. That is one row in the same
transaction as the rows themselves: exactly once for messages that carry nothing at all, wherever
ingest dies. The place to go on from is always read from Postgres, never remembered.

Everything up to the position is settled. While a message is deferred the position stays before it,
and a second one, `ahead`, says how far messages behind it were stored. After a restart those are
read again, as redelivered messages: what is settled is known by its identity. A third one, `first`,
is the first message that was ever received: by it the stream is known while nothing is settled.
"""

import hashlib
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import LiteralString

import psycopg

from services.ingest.core import Delivery
from shared.errors import Refusal, Unavailable

NOTHING_YET = -1
NEVER_READ = NOTHING_YET - 1
KEPT_ROWS = 100

TRY_LOCK: LiteralString = """
SELECT pg_try_advisory_lock(hashtextextended('minutebook:stream:' || %(stream)s, 0))
"""
SELECT_POSITION: LiteralString = """
SELECT generation, reached, body_sha256
  FROM stream_offset
 WHERE stream = %(stream)s
 ORDER BY reached DESC
 LIMIT 1
"""
INSERT_POSITION: LiteralString = """
INSERT INTO stream_offset (stream, generation, previous, reached, body_sha256)
VALUES (%(stream)s, %(generation)s, %(previous)s, %(reached)s, %(body_sha256)s)
ON CONFLICT (stream, previous) DO NOTHING
"""
PRUNE: LiteralString = """
DELETE FROM stream_offset
 WHERE stream = %(stream)s
   AND reached < (SELECT reached
                    FROM stream_offset
                   WHERE stream = %(stream)s
                   ORDER BY reached DESC
                  OFFSET %(kept)s
                   LIMIT 1)
"""


class Gap(Exception):
    """Offsets jumped: to be looked at again from the last one stored, which must still be there."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream is settled; `generation` tells one life of the stream from the next.

    `reached` is the offset of the last message settled, -1 before the first. Without its digest
    nothing is settled yet.
    """

    stream: str
    generation: str
    reached: int
    body_sha256: bytes

    def identity(self, offset: int) -> str:
        """Return the identity of the message at `offset` if it carries none of its own."""
        return f"stream:{self.generation}:{offset}"

    def after(self, offset: int, body: bytes) -> "Position":
        """Return the position once the message at `offset` is stored."""
        return replace(self, reached=offset, body_sha256=hashlib.sha256(body).digest())

    def at_least(self, other: "Position") -> "Position":
        """Return whichever of two positions reaches further, under this one's name."""
        if other.reached <= self.reached:
            return self
        return replace(self, reached=other.reached, body_sha256=other.body_sha256)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stream is settled, and stored: further than that while messages are deferred."""

    settled: Position
    ahead: Position
    """Up to here messages were ever stored while one before them was deferred."""
    first: Position
    """The first message ever received."""
    end: Position
    """The last message that is stored or deferred."""
    before: Mapping[int, Position] = field(default_factory=dict)
    """By tag of a deferred message: the position while it is the first of them."""

    @property
    def anchor(self) -> Position | None:
        """What the stream must still hold: the last message settled, or the first; None if new."""
        if self.settled.body_sha256:
            return self.settled
        return self.first if self.first.body_sha256 else None

    def starting_with(self, first: Delivery, offset: int) -> "Progress":
        """Return the progress once a stream's first message is known; it begins with `first`."""
        if self.anchor:
            return self
        start = replace(self.settled, reached=offset - 1)
        return replace(self, settled=start, end=start, first=self.first.after(offset, first.body))

    def stored(self, last: Delivery, offset: int, deferred: Collection[int] = ()) -> "Progress":
        """Return the progress once all up to `last` is stored, but for the `deferred` tags."""
        end = self.end.after(offset, last.body)
        before = {**self.before, **dict.fromkeys(deferred, self.end)}
        if before:
            return replace(self, ahead=self.ahead.at_least(end), end=end, before=before)
        return replace(self, settled=end, end=end)

    def still_deferred(self, tags: Iterable[int]) -> "Progress":
        """Return the progress while just these are deferred, in the order of their tags."""
        before = {tag: self.before[tag] for tag in tags}
        return replace(self, settled=next(iter(before.values()), self.end), before=before)


def try_lock(conn: psycopg.Connection, stream: str) -> bool:
    """Become the stream's one active reader for as long as `conn` lives; false if another is."""
    return conn.execute(TRY_LOCK, {"stream": stream}).fetchone() == (True,)


def progress(conn: psycopg.Connection, stream: str) -> Progress:
    """Return how far `stream` is settled, and ever stored; for its one reader.

    A stream that was never read gets its generation now: identities must be the same after a
    restart, even if nothing was settled before it.
    """
    settled = _position(conn, stream)
    if settled is None:
        settled = Position(stream, uuid.uuid4().hex, NOTHING_YET, b"")
        _advance(conn, replace(settled, reached=NEVER_READ), settled)
    ahead, first = (
        _position(conn, name) or Position(name, settled.generation, NOTHING_YET, b"")
        for name in (f"{stream} {kind} {settled.generation}" for kind in ("ahead", "first"))
    )
    return Progress(settled, ahead, first, settled)


def advance(conn: psycopg.Connection, before: Progress, after: Progress) -> None:
    """Write what of `before` changed, in the transaction that stores what lies between.

    Raises `Unavailable` if another reader stored beyond `before`: then nothing may be committed.
    """
    _advance(conn, before.first, after.first)
    _advance(conn, before.ahead, after.ahead)
    _advance(conn, before.settled, after.settled)


def prune(conn: psycopg.Connection, progress: Progress) -> int:
    """Delete old positions; returns how many. The newest ones stay, for people to look at."""
    names = (progress.settled.stream, progress.ahead.stream)
    return sum(conn.execute(PRUNE, {"stream": name, "kept": KEPT_ROWS}).rowcount for name in names)


def _position(conn: psycopg.Connection, stream: str) -> Position | None:
    row = conn.execute(SELECT_POSITION, {"stream": stream}).fetchone()
    return Position(stream, *row) if row else None


def _advance(conn: psycopg.Connection, before: Position, after: Position) -> None:
    if after == before:
        return
    given = {**asdict(after), "previous": before.reached}
    if conn.execute(INSERT_POSITION, given).rowcount != 1:
        says = f"{after.stream} was stored beyond {before.reached} by another reader"
        raise Unavailable("postgres", says)


class Continuity:
    """Checks that deliveries go on where Postgres stands, with nothing missing in between.

    The broker is asked for the last message that was settled, or for the first one if that is
    deferred. If the stream was deleted and made anew it delivers nothing, or something else; if
    retention cut it, something later. Offsets may jump, but only right after a message that was
    delivered again as expected.
    """

    def __init__(self, start: Progress) -> None:
        """Begin at `start`, as read from Postgres."""
        self._start = start
        self._last = start.settled.reached
        self.anchored = start.anchor is None
        """Whether the message that must be there was delivered again."""
        self._contiguous = 0

    def ask_for(self) -> int | str:
        """Return the offset to start reading from, as the broker takes it."""
        anchor = self._start.anchor
        return anchor.reached if anchor else "first"

    def accept(self, offset: int, body: bytes) -> bool:
        """Say whether the message is to be stored; false for the last one settled.

        Raises `Refusal` if the stream is not the one that was stored, and `Gap`.
        """
        if not self.anchored:
            self._check_anchor(offset, body)
            self.anchored = True
            if offset == self._start.settled.reached:
                return False
        if offset != self._last + 1 and self._contiguous:
            raise Gap(f"offset {offset} after {self._last}")
        self._last = offset
        self._contiguous += 1
        return True

    def _check_anchor(self, offset: int, body: bytes) -> None:
        settled, anchor = self._start.settled, self._start.anchor
        if anchor is None or anchor.reached != offset:
            raise Refusal(
                f"stream {settled.stream} begins at offset {offset}, but only what came up to"
                f" {settled.reached} is settled: its retention cut messages that were not stored"
                " (or it was made anew)"
            )
        if anchor.body_sha256 != hashlib.sha256(body).digest():
            raise made_anew(self._start)


def made_anew(start: Progress) -> Refusal:
    """Return what to say when the message to read on from is not in the stream."""
    what = "stored last" if start.settled.body_sha256 else "received first, and is deferred"
    offset = start.anchor.reached if start.anchor else 0
    return Refusal(
        f"stream {start.settled.stream} does not hold the message at offset {offset} that was"
        f" {what}: it was deleted and made anew. If that was meant, delete its rows from"
        " stream_offset, and it is read from its first message"
    )
