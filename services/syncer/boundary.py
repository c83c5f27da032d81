"""Boundaries against Postgres's clock: one too far ahead is refused, or was false all along."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

AHEAD_MAX_S = 1.0
"""How far in Postgres's future a boundary may lie: the tolerance of the promise (±1 s)."""
FALSE_AHEAD_S = 120.0
"""Further ahead than this, a boundary that was written came of a clock that has been set right.

Below, waiting is shorter than the doubt: no boundary is shown twice because a clock was adjusted.
"""

SELECT_AHEAD: LiteralString = """
SELECT %(boundary)s::timestamptz > clock_timestamp() + make_interval(secs => %(ahead_max_s)s),
       coalesce(%(newest)s::timestamptz
                > clock_timestamp() + make_interval(secs => %(false_ahead_s)s), false)
"""
TAKE_BACK: LiteralString = """
UPDATE tick
   SET boundary = NULL
 WHERE boundary >= %(boundary)s
"""


@dataclass(frozen=True, slots=True)
class Ahead:
    """Whether a boundary is too far ahead to be written, and the newest too far to be true."""

    refused: bool
    newest_is_false: bool


def ahead(conn: psycopg.Connection, boundary: datetime, newest: datetime | None) -> Ahead:
    """Hold a boundary and the newest one that was written against Postgres's clock."""
    limits = {"ahead_max_s": AHEAD_MAX_S, "false_ahead_s": FALSE_AHEAD_S}
    row = conn.execute(SELECT_AHEAD, {"boundary": boundary, "newest": newest} | limits).fetchone()
    return Ahead(*(row or (True, False)))


def take_back(conn: psycopg.Connection, boundary: datetime) -> int:
    """Take their boundary from all ticks at or after `boundary`; returns how many there were.

    Time was wrong there and comes again. What they count stays counted.
    """
    return conn.execute(TAKE_BACK, {"boundary": boundary}).rowcount
