"""Boundaries against Postgres's clock: one too far ahead is refused, or was false all along."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

import psycopg

from services.syncer.core import NewestTick

AHEAD_MAX = timedelta(seconds=1)
"""How far in Postgres's future a boundary may lie: the tolerance of the promise (±1 s)."""
FALSE_AHEAD = timedelta(seconds=120)
"""Further ahead than this, a boundary that was written came of a clock that has been set right.

Below, waiting is shorter than the doubt: no boundary is shown twice because a clock was adjusted.
"""

TAKE_BACK: LiteralString = """
UPDATE tick
   SET boundary = NULL
 WHERE boundary >= %(boundary)s
RETURNING epoch
"""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Whether a boundary is too far ahead to be written, and the newest too far to be true."""

    refused: bool
    newest_is_false: bool


def ahead(boundary: datetime, newest: NewestTick) -> Ahead:
    """Hold a boundary, and that of the newest tick, against the clock by which that was read."""
    written = newest.boundary
    return Ahead(
        refused=boundary > newest.read_at + AHEAD_MAX,
        newest_is_false=written is not None and written > newest.read_at + FALSE_AHEAD,
    )


def take_back(conn: psycopg.Connection, boundary: datetime) -> int:
    """Take their boundary from all ticks at or after `boundary`; returns how many there were.

    Time was wrong there and comes again. What they count stays counted.
    """
    return len(conn.execute(TAKE_BACK, {"boundary": boundary}).fetchall())
