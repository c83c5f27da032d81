"""The ticks, and what operators did, in SQL."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from shared import postgres

TICKS = 120

SELECT_TICKS: LiteralString = """
SELECT t.epoch, t.boundary, t.published_at, (n.rows)::bigint AS rows,
       coalesce(before.system_identifier <> t.system_identifier, false) AS is_baseline,
       coalesce(t.epoch - before.epoch > 1, false) AS is_failover,
       EXISTS (SELECT
                 FROM operator_action
                WHERE action = 'keydb_rebuilt'
                  AND subject = t.epoch::text) AS is_rebuilt
  FROM (SELECT epoch, boundary, published_at, system_identifier
          FROM tick
         WHERE boundary <= %(at)s
         ORDER BY boundary DESC
         LIMIT %(ticks)s) AS t
  LEFT JOIN LATERAL (
       SELECT epoch, system_identifier
         FROM tick
        WHERE epoch < t.epoch
        ORDER BY epoch DESC
        LIMIT 1
       ) AS before ON true
  LEFT JOIN LATERAL (
       SELECT epoch
         FROM tick
        WHERE epoch < t.epoch
          AND NOT interim
        ORDER BY epoch DESC
        LIMIT 1
       ) AS due ON true
 CROSS JOIN LATERAL (
       SELECT sum(rows) AS rows
         FROM tick
        WHERE epoch > coalesce(due.epoch, t.epoch - 1)
          AND epoch <= t.epoch
       ) AS n
 ORDER BY t.boundary
"""
SELECT_ACTIONS: LiteralString = """
SELECT id, action, subject, outcome, operator, created_at
  FROM operator_action
 WHERE created_at <= %(at)s
 ORDER BY id DESC
 LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Tick:
    """A due tick; `is_failover`: epochs are missing before it, so ticks that KeyDB showed are lost.

    `is_baseline`: all was counted again, since the database is in another cluster. `is_rebuilt`: an
    operator had KeyDB sent all of it.
    """

    epoch: int
    boundary: datetime
    published_at: datetime | None
    rows: int | None
    is_baseline: bool
    is_failover: bool
    is_rebuilt: bool


@dataclass(frozen=True, slots=True)
class Action:
    """What an operator did."""

    id: int
    action: str
    subject: str
    outcome: str
    operator: str
    created_at: datetime


def ticks(conn: psycopg.Connection, at: datetime) -> list[Tick]:
    """Return the due ticks until `at`, 120 at most, oldest first."""
    with postgres.translating(), conn.cursor(row_factory=class_row(Tick)) as cursor:
        return cursor.execute(SELECT_TICKS, {"at": at, "ticks": TICKS}).fetchall()


def actions(conn: psycopg.Connection, at: datetime, most: int) -> list[Action]:
    """Return what operators did last, newest first."""
    with postgres.translating(), conn.cursor(row_factory=class_row(Action)) as cursor:
        return cursor.execute(SELECT_ACTIONS, {"at": at, "most": most}).fetchall()
