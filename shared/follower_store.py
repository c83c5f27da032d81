"""Followers' SQL: where one stands, the next due tick, and the lock of the active one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, LiteralString

import psycopg

OPTIONS = "-c idle_session_timeout=60s"
"""Of a follower's connection: one that is frozen loses its lock to the next."""

ASKED_TOKEN = ""
"""What an operator makes of a position's token for the follower to start anew."""

ROWS_AT_ONCE = 20_000
"""How much is followed before the position moves, where more than one tick is."""

Position = tuple[int, str]
"""Epoch and token: they name one tick of one database."""

Reason = Literal[
    "first_start", "asked", "unknown_position", "published_lost", "baseline", "rows_gone"
]
"""Why a follower starts anew: it has no position; an operator asked for it; the position, or what
it published last, is no tick of this database; the next tick counts all anew; rows are gone."""

LOCK: LiteralString = """
SELECT pg_try_advisory_lock(hashtextextended('minutebook:follower:' || %(name)s, 0))
"""

SELECT_NEWEST: LiteralString = """
SELECT epoch, token, boundary, snapshot::text
  FROM tick
 WHERE NOT interim
 ORDER BY epoch DESC
 LIMIT 1
"""

# One statement, hence one snapshot. A baseline is a tick of another cluster than the one before.
SELECT_NEXT: LiteralString = """
SELECT f.epoch, f.token, f.error IS NOT NULL, f.epoch < (SELECT min(epoch) FROM tick),
       (SELECT count(*)
          FROM tick
         WHERE epoch = %(published_epoch)s
           AND token = %(published_token)s),
       mine.epoch, mine.token, mine.boundary, mine.snapshot::text,
       next.epoch, next.token, next.boundary, next.snapshot::text,
       counted.rows::bigint, counted.baseline
  FROM follower f
  LEFT JOIN tick mine ON mine.epoch = f.epoch AND mine.token = f.token AND NOT mine.interim
  LEFT JOIN LATERAL (
       SELECT *, lag(epoch, 1, mine.epoch) OVER (ORDER BY epoch) AS before
         FROM tick
        WHERE epoch > mine.epoch
          AND NOT interim
        ORDER BY epoch
        LIMIT %(ticks_max)s::int
       ) AS next ON true
  LEFT JOIN LATERAL (
       SELECT sum(rows) AS rows,
              bool_or(system_identifier <> mine.system_identifier) AS baseline
         FROM tick
        WHERE epoch > next.before
          AND epoch <= next.epoch
       ) AS counted ON true
 WHERE f.name = %(name)s
 ORDER BY next.epoch
"""

SELECT_LAG: LiteralString = """
SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(folded_at)), 0)::float8
  FROM tick
 WHERE epoch > (SELECT epoch FROM follower WHERE name = %(name)s)
   AND NOT interim
"""

INSERT: LiteralString = """
INSERT INTO follower (name, epoch, token, moved_at)
VALUES (%(name)s, %(new_epoch)s, %(new_token)s, clock_timestamp())
ON CONFLICT (name) DO NOTHING
"""

MOVE: LiteralString = """
UPDATE follower
   SET epoch = %(new_epoch)s,
       token = %(new_token)s,
       moved_at = clock_timestamp(),
       error = NULL,
       error_at = NULL
 WHERE name = %(name)s
   AND epoch = %(epoch)s
   AND token = %(token)s
"""

NOTE_ERROR: LiteralString = """
UPDATE follower
   SET error = %(error)s,
       error_at = clock_timestamp()
 WHERE name = %(name)s
"""
FORGET_ERROR: LiteralString = """
UPDATE follower
   SET error = NULL,
       error_at = NULL
 WHERE name = %(name)s
"""

STATEMENTS = (SELECT_NEXT, SELECT_NEWEST, SELECT_LAG, INSERT, MOVE, NOTE_ERROR)
"""What each follower needs: tried out at each connection."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A due tick; `snapshot` is what it has counted, as text of a `pg_snapshot`.

    `boundary` is None for the baseline of a new database (epoch 0) and where a wrong clock's
    boundary was taken back.
    """

    epoch: int
    token: str
    boundary: datetime | None
    snapshot: str

    @property
    def position(self) -> Position:
        """What names it."""
        return self.epoch, self.token


@dataclass(frozen=True, slots=True)
class Span:
    """A due tick and the due tick before it: what became visible between their snapshots.

    `rows` is how many outbox rows that are; interim ticks between them are included. With `more`
    another one is followed before the position moves.
    """

    before: Tick
    tick: Tick
    rows: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class NextStep:
    """What a follower finds: its position, and the next due ticks or why it has to start anew."""

    position: Position | None = None
    failed: bool = False
    """Whether its row says that it stands still."""
    spans: Sequence[Span] = ()
    anew: Reason | None = None


def try_lock(conn: psycopg.Connection, name: str) -> bool:
    """Take the lock of the active follower of this name, for as long as `conn` lasts."""
    return conn.execute(LOCK, {"name": name}).fetchone() == (True,)


def next_step(
    conn: psycopg.Connection, name: str, published: Position | None, *, ticks_max: int = 1
) -> NextStep:
    """Say what the follower has to do next; `published` is what it has sent last, if anything.

    Of `ticks_max` due ticks those that have few rows are followed in one go.
    """
    epoch, token = published or (None, None)
    given = {"name": name, "published_epoch": epoch, "published_token": token}
    rows = conn.execute(SELECT_NEXT, {**given, "ticks_max": ticks_max}).fetchall()
    if not rows:
        return NextStep(anew="first_start")
    row = rows[0]
    position, failed, is_pruned, is_kept = row[:2], row[2], row[3], row[4]
    mine, following, baseline = row[5:9], row[9:13], row[14]
    anew: Reason | None = None
    if position[1] == ASKED_TOKEN:
        anew = "asked"
    elif mine[0] is None:
        anew = "rows_gone" if is_pruned else "unknown_position"
    elif published and not is_kept:
        anew = "published_lost"
    elif baseline:
        anew = "baseline"
    if anew or following[0] is None:
        return NextStep(position, failed, anew=anew)
    return NextStep(position, failed, spans=_spans(Tick(*mine), rows))


def _spans(before: Tick, rows: Sequence[tuple[Any, ...]]) -> list[Span]:
    """Return the first due tick, and those after it up to a baseline or to too many rows."""
    spans: list[Span] = []
    for *_, epoch, token, boundary, snapshot, count, baseline in rows:
        if baseline or (spans and sum(one.rows for one in spans) + count > ROWS_AT_ONCE):
            break
        tick = Tick(epoch, token, boundary, snapshot)
        spans.append(Span(before, tick, count, more=True))
        before = tick
    return [*spans[:-1], replace(spans[-1], more=False)]


def newest(conn: psycopg.Connection) -> Tick | None:
    """Return the newest due tick."""
    row = conn.execute(SELECT_NEWEST).fetchone()
    return Tick(*row) if row else None


def lag(conn: psycopg.Connection, name: str) -> tuple[int, float]:
    """Return how many due ticks are not followed yet, and the age of the oldest (seconds)."""
    row = conn.execute(SELECT_LAG, {"name": name}).fetchone()
    return row or (0, 0.0)


def move(conn: psycopg.Connection, name: str, position: Position | None, to: Tick) -> bool:
    """Compare and set: from this position, or from none, to a tick; False if it was another."""
    new = {"new_epoch": to.epoch, "new_token": to.token}
    if position is None:
        return conn.execute(INSERT, {"name": name, **new}).rowcount == 1
    return conn.execute(MOVE, _given(name, position) | new).rowcount == 1


def note_error(conn: psycopg.Connection, name: str, error: str) -> None:
    """Write down why the follower stands still."""
    conn.execute(NOTE_ERROR, {"name": name, "error": error})


def forget_error(conn: psycopg.Connection, name: str) -> None:
    """Write down that it does not."""
    conn.execute(FORGET_ERROR, {"name": name})


def _given(name: str, position: Position) -> dict[str, object]:
    return {"name": name, "epoch": position[0], "token": position[1]}
