"""Reading a RabbitMQ stream: the broker's offset is the identity, stored with the rows.

A stream keeps what was read, so a reader has to know how far it came. That is one row in the same
transaction as the rows themselves: exactly once for messages that carry nothing at all, wherever
ingest dies. The place to go on from is always read from Postgres, never remembered.

Everything up to the position is stored, or deferred. Reading begins again with the first message
that is deferred: those behind it are read again, as redelivered ones, and known by their identity.
"""

import hashlib
import uuid
from dataclasses import asdict, dataclass
from typing import LiteralString, NamedTuple

import psycopg

from shared.errors import Refusal, Unavailable

NOTHING_YET = -1
KEPT_ROWS = 100

TRY_LOCK: LiteralString = """
SELECT pg_try_advisory_lock(hashtextextended('minutebook:stream:' || %(stream)s, 0))
"""
SELECT_POSITION: LiteralString = """
SELECT generation, reached, body_sha256, deferred, deferred_sha256
  FROM stream_offset
 WHERE stream = %(stream)s
 ORDER BY reached DESC
 LIMIT 1
"""
INSERT_POSITION: LiteralString = """
INSERT INTO stream_offset (
       stream, generation, previous, reached, body_sha256, deferred, deferred_sha256)
VALUES (%(stream)s, %(generation)s, %(previous)s, %(reached)s, %(body_sha256)s, %(deferred)s,
        %(deferred_sha256)s)
ON CONFLICT (stream, previous) DO NOTHING
"""
UPDATE_DEFERRED: LiteralString = """
UPDATE stream_offset
   SET deferred = %(deferred)s,
       deferred_sha256 = %(deferred_sha256)s
 WHERE stream = %(stream)s
   AND reached = %(reached)s
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


class Message(NamedTuple):
    """By what a message of a stream is known again."""

    offset: int
    body_sha256: bytes

    @classmethod
    def of(cls, offset: int, body: bytes) -> "Message":
        """Return the message that is at `offset`."""
        return cls(offset, hashlib.sha256(body).digest())


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream is stored; `generation` tells one life of the stream from the next.

    Up to the offset `reached`, -1 before the first, all is stored but for messages that are
    deferred: `deferred` is the offset of the first of them.
    """

    stream: str
    generation: str
    reached: int = NOTHING_YET
    body_sha256: bytes = b""
    deferred: int | None = None
    deferred_sha256: bytes = b""

    @property
    def anchor(self) -> Message | None:
        """The message to read on from, which the stream must still hold; None if it is new."""
        if self.deferred is not None:
            return Message(self.deferred, self.deferred_sha256)
        return Message(self.reached, self.body_sha256) if self.body_sha256 else None

    def identity(self, offset: int) -> str:
        """Return the identity of the message at `offset` if it carries none of its own."""
        return f"stream:{self.generation}:{offset}"

    def after(self, last: Message, deferred: Message | None = None) -> "Position":
        """Return the position once all up to `last` is stored, but for messages from `deferred` on.

        It stays while messages are read again that it has passed.
        """
        if last.offset < self.reached:
            return self
        return Position(self.stream, self.generation, *last, *(deferred or (None, b"")))


def try_lock(conn: psycopg.Connection, stream: str) -> bool:
    """Become the stream's one active reader for as long as `conn` lives; false if another is."""
    return conn.execute(TRY_LOCK, {"stream": stream}).fetchone() == (True,)


def position(conn: psycopg.Connection, stream: str) -> Position:
    """Return how far `stream` is stored; for its one reader.

    A stream that was never read gets a generation. The commit of its first messages keeps that:
    identities must be the same after a restart, even if nothing was stored before it.
    """
    row = conn.execute(SELECT_POSITION, {"stream": stream}).fetchone()
    return Position(stream, *row) if row else Position(stream, uuid.uuid4().hex)


def advance(conn: psycopg.Connection, before: Position, after: Position) -> None:
    """Write a position in the transaction that stores what lies between `before` and it.

    Raises `Unavailable` if another reader stored beyond `before`: then nothing may be committed.
    """
    given = {**asdict(after), "previous": before.reached}
    if after.reached == before.reached:
        conn.execute(UPDATE_DEFERRED, given)
    elif conn.execute(INSERT_POSITION, given).rowcount != 1:
        says = f"{after.stream} was stored beyond {before.reached} by another reader"
        raise Unavailable("postgres", says)


def prune(conn: psycopg.Connection, stream: str) -> int:
    """Delete old positions; returns how many. The newest ones stay, for people to look at."""
    return conn.execute(PRUNE, {"stream": stream, "kept": KEPT_ROWS}).rowcount


class Continuity:
    """Checks that deliveries go on where Postgres stands, with nothing missing in between.

    The broker is asked for the position's anchor. If the stream was deleted and created again it
    delivers nothing, or something else; if retention cut it, something later. Offsets may jump, but
    only right after a stored message that was delivered again as expected.
    """

    def __init__(self, start: Position) -> None:
        """Begin at `start`, as read from Postgres."""
        self._start = start
        self._next: int | None = None
        self.anchored = start.anchor is None
        """Whether the message that must be there was delivered again."""

    def ask_for(self) -> int | str:
        """Return the offset to start reading from, as the broker takes it."""
        return self._start.anchor.offset if self._start.anchor else "first"

    def accept(self, offset: int, body: bytes) -> bool:
        """Say whether the message must be stored; false for the last one stored.

        Raises `Refusal` if the stream is not the one that was stored, and `Gap`.
        """
        if not self.anchored:
            self._check_anchor(Message.of(offset, body))
            self.anchored = True
            if self._start.deferred is None:
                return False
        if self._next not in (None, offset):
            raise Gap(f"offset {offset} in place of {self._next}")
        self._next = offset + 1
        return True

    def _check_anchor(self, found: Message) -> None:
        anchor = self._start.anchor
        if anchor is None or anchor.offset != found.offset:
            raise Refusal(
                f"stream {self._start.stream} begins at offset {found.offset}, but must be read on"
                f" from {self.ask_for()}: its retention cut messages that were not stored"
                " (or it was created again)"
            )
        if anchor != found:
            raise recreated(self._start)


def recreated(start: Position, doubt: str = "") -> Refusal:
    """Return what to say when the message to read on from is not in the stream, with any doubt."""
    what = "was stored last" if start.deferred is None else "is deferred"
    offset = start.anchor.offset if start.anchor else 0
    return Refusal(
        f"stream {start.stream} does not hold the message at offset {offset} that {what}: it was"
        f" deleted and created again{doubt}. If that was meant, delete its rows from stream_offset,"
        " and it is read from its first message"
    )
