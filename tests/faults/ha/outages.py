"""For how long nothing was stored, and KeyDB was behind: read from the books afterwards.

Rows and ticks carry the times of the servers' own clocks, so nothing has to watch meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tests.faults.fault import title
from tests.faults.sequence import Strike
from tests.support.stack import INTERVAL_S

# By hand rows come, too, which need no broker.
STORED = """
SELECT extract(epoch FROM before)::float8, extract(epoch FROM created_at)::float8
  FROM (SELECT outbox.created_at,
               lag(outbox.created_at) OVER (ORDER BY outbox.created_at) AS before
          FROM outbox
          JOIN historical_transactions AS stored ON stored.id = outbox.transaction_id
         WHERE stored.message_id IS NOT NULL) AS pair
 WHERE created_at - before > interval '0.2 s'
"""
SHOWN = """
SELECT extract(epoch FROM before)::float8, extract(epoch FROM published_at)::float8
  FROM (SELECT published_at, lag(published_at) OVER (ORDER BY published_at) AS before
          FROM tick
         WHERE published_at IS NOT NULL) AS pair
 WHERE before IS NOT NULL
"""
Pause = tuple[float, float]
"""From when to when nothing came, in Unix seconds."""


@dataclass(frozen=True)
class Outage:
    """What one fault cost, in seconds: the longest pause that ended before the next one."""

    fault: str
    stored_s: float
    """Without a transaction stored, from RabbitMQ to Postgres."""
    shown_s: float
    """How much longer than an interval KeyDB showed no new tick."""

    def describe(self) -> str:
        """Return it as a row of a table."""
        return f"| {self.fault} | {self.stored_s:.1f} | {self.shown_s:.1f} |"


def outages(
    conn: psycopg.Connection, strikes: Sequence[Strike], begun_at: Sequence[float]
) -> list[Outage]:
    """Return what each fault cost; `begun_at` is when each began, in Unix seconds."""
    stored = [(a, b) for a, b in conn.execute(STORED)]
    shown = [(a, b) for a, b in conn.execute(SHOWN)]
    ends_at = [*begun_at[1:], float("inf")]
    return [
        Outage(
            title(strike.fault),
            longest_s(stored, begin, end),
            max(0.0, longest_s(shown, begin, end) - INTERVAL_S),
        )
        for strike, begin, end in zip(strikes, begun_at, ends_at, strict=True)
    ]


def longest_s(pauses: Sequence[Pause], begin: float, end: float) -> float:
    """Return the longest of the pauses that ended between `begin` and `end`.

    One that began just before `end`, with what came last before the next fault, is that one's.
    """
    return max((b - a for a, b in pauses if begin < b <= end), default=0.0)
