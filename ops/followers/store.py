"""Followers' rows, read and changed; each change together with who did it."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from ops import action
from shared import postgres
from shared.errors import Refusal
from shared.follower_store import ASKED_TOKEN

# Of an advisory lock on a bigint, classid is the upper half and objid the lower.
SELECT_FOLLOWERS: LiteralString = """
SELECT f.name, f.epoch, mine.boundary, f.moved_at, lag.ticks,
       coalesce(extract(epoch FROM clock_timestamp() - lag.since), 0)::float8,
       EXISTS (SELECT
                 FROM pg_locks l
                WHERE l.locktype = 'advisory'
                  AND l.granted
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (l.classid::bigint << 32 | l.objid::bigint)
                      = hashtextextended('minutebook:follower:' || f.name, 0)),
       mine.epoch IS NULL, f.error, f.error_at
  FROM follower f
  LEFT JOIN tick mine ON mine.epoch = f.epoch AND mine.token = f.token
 CROSS JOIN LATERAL (
       SELECT count(*) AS ticks, min(folded_at) AS since
         FROM tick
        WHERE epoch > f.epoch
          AND NOT interim
       ) AS lag
 ORDER BY f.name
"""
START_ANEW: LiteralString = """
UPDATE follower
   SET token = %(token)s
 WHERE name = %(name)s
RETURNING epoch
"""
DELETE: LiteralString = """
DELETE FROM follower
 WHERE name = %(name)s
RETURNING epoch
"""


@dataclass(frozen=True, slots=True)
class Follower:
    """Where one stands: the due tick it followed last, and what is due since.

    `lag_s` is the age of the oldest due tick that it has not followed. `starts_anew`: its position
    is no tick that is kept, so that it goes on from the present. `error` is why it stands still.
    """

    name: str
    epoch: int
    boundary: datetime | None
    moved_at: datetime
    lag_ticks: int
    lag_s: float
    running: bool
    starts_anew: bool
    error: str | None
    error_at: datetime | None


def everyone(conn: psycopg.Connection) -> list[Follower]:
    """Return all followers that there ever were and that nobody forgot."""
    with postgres.translating():
        return [Follower(*row) for row in conn.execute(SELECT_FOLLOWERS)]


def start_anew(conn: psycopg.Connection, name: str, *, operator: str) -> None:
    """Have a follower start anew: at once if it runs, else at its start. Raises `Refusal`."""
    with postgres.translating(), conn.transaction():
        _changed(conn, START_ANEW, name, "follower_anew", operator)


def forget(conn: psycopg.Connection, name: str, *, operator: str) -> None:
    """Remove a follower's row. Raises `Refusal` for one that runs: it would be back at once."""
    with postgres.translating(), conn.transaction():
        if any(one.running for one in everyone(conn) if one.name == name):
            raise Refusal(f"{name} runs, and would be back at once: stop it first")
        _changed(conn, DELETE, name, "follower_forgotten", operator)


def _changed(
    conn: psycopg.Connection, query: LiteralString, name: str, what: str, operator: str
) -> None:
    row = conn.execute(query, {"name": name, "token": ASKED_TOKEN}).fetchone()
    if row is None:
        names = ", ".join(one.name for one in everyone(conn)) or "none"
        raise Refusal(f"there is no follower {name}; there are: {names}")
    done = {"action": what, "subject": name, "outcome": "done", "operator": operator}
    action.note(conn, [done | {"detail": {"epoch": row[0]}}])
