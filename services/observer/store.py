"""The SQL of what was seen when: rows that expire, and sightings that operators replay.

The times are those of the API's answers, by Postgres's clock: read together with our own before a
batch is written, so that a server which stands still meanwhile makes nothing younger than it is.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg

from services.observer import core

SELECT_TIME: LiteralString = "SELECT clock_timestamp()"
# In the order of ids: two who write the same ones wait for each other in one direction only.
UPSERT: LiteralString = """
INSERT INTO last_seen (object_id, seen_at)
SELECT object_id, seen_at
  FROM unnest(%(ids)s::bigint[], %(times)s::timestamptz[]) AS found (object_id, seen_at)
 WHERE seen_at > clock_timestamp() - make_interval(secs => %(kept_s)s)
 ORDER BY object_id
ON CONFLICT (object_id) DO UPDATE
   SET seen_at = greatest(last_seen.seen_at, excluded.seen_at)
RETURNING object_id, seen_at
"""
# A row that somebody is writing is about to become newer.
EXPIRE: LiteralString = """
DELETE FROM last_seen
 WHERE object_id IN (
       SELECT object_id
         FROM last_seen
        WHERE seen_at < clock_timestamp() - make_interval(secs => %(kept_s)s)
          FOR UPDATE SKIP LOCKED)
"""
INSERT_REPLAY: LiteralString = "INSERT INTO sighting_replay (object_id) VALUES (%(object_id)s)"
DELETE_REPLAYS: LiteralString = """
DELETE FROM sighting_replay
 WHERE id IN (
       SELECT id
         FROM sighting_replay
        ORDER BY id
        LIMIT %(most)s
          FOR UPDATE SKIP LOCKED)
RETURNING id, object_id
"""

STATEMENTS = (SELECT_TIME, UPSERT, EXPIRE, DELETE_REPLAYS)


@dataclass(frozen=True, slots=True)
class Clock:
    """Postgres's clock, read at a moment of our own monotonic clock."""

    at: datetime
    read_at: float

    @classmethod
    def read(cls, conn: psycopg.Connection) -> "Clock":
        """Read it now: at the end of the wait, so that a wait makes no difference."""
        ((at,),) = conn.execute(SELECT_TIME).fetchall()
        return cls(at, time.monotonic())

    def time_at(self, moment: float) -> datetime:
        """Return what it showed, or shows, at a moment of the monotonic clock."""
        return self.at + timedelta(seconds=moment - self.read_at)


def upsert(
    conn: psycopg.Connection, seen: Mapping[int, datetime], kept_s: float
) -> dict[int, datetime]:
    """Write when objects were seen, unless that is as long ago as `kept_s`; never move one back.

    Returns when each of them was seen last, as far as is known.
    """
    given = {"ids": list(seen), "times": list(seen.values()), "kept_s": kept_s}
    return dict(conn.execute(UPSERT, given).fetchall())


def expire(conn: psycopg.Connection, kept_s: float) -> int:
    """Remove all that was seen longer ago; return how many rows."""
    return conn.execute(EXPIRE, {"kept_s": kept_s}).rowcount


def replay(conn: psycopg.Connection, body: bytes) -> None:
    """Write a sighting down that an observer is to publish again. Raises `Unfit`."""
    conn.execute(INSERT_REPLAY, {"object_id": core.object_id(body)})


def take_replays(conn: psycopg.Connection, most: int) -> Sequence[tuple[int, int]]:
    """Take the oldest of those: their ids and objects. They are gone with the caller's commit."""
    return conn.execute(DELETE_REPLAYS, {"most": most}).fetchall()
