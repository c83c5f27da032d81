"""The balances of one provider at regular times, from the ticks of those times."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import LiteralString

import psycopg

from shared import postgres
from shared.errors import Refusal
from shared.ledger import history

POINTS_MAX = 100_000

SELECT_SERIES: LiteralString = """
SELECT asked.at, t.epoch, CASE WHEN b.key IS NOT NULL THEN b.balance::text END
  FROM unnest(%(times)s::timestamptz[]) AS asked (at)
  LEFT JOIN tick t ON t.boundary = asked.at
  LEFT JOIN LATERAL (
       SELECT key, balance
         FROM balance
        WHERE provider_id BETWEEN %(provider_id)s AND %(provider_id)s
          AND epoch <= t.epoch
        ORDER BY provider_id DESC, epoch DESC
        LIMIT 1
       ) AS b ON true
 ORDER BY asked.at
"""


@dataclass(frozen=True, slots=True)
class Point:
    """The balance (minor units) in the tick of the boundary `at`.

    Without an `epoch` there was no such tick: a gap. Without a `balance` alone the provider did not
    exist then.
    """

    at: datetime
    epoch: int | None
    balance: str | None


@dataclass(frozen=True, slots=True)
class Series:
    """Points in order; `kept_since` is the oldest time to ask for, if the question began before."""

    provider_id: int
    step_s: int
    kept_since: datetime | None
    points: list[Point]


def series(
    conn: psycopg.Connection, provider_id: int, first: datetime, last: datetime, step: timedelta
) -> Series:
    """Return the balance at each multiple of `step` since 1970 in [first, last].

    Times have a time zone. What is past its retention is left out, and said. Raises `Unanswerable`
    if all is, `Refusal` for too many points, and `Unavailable`.
    """
    with postgres.translating():
        oldest = history.oldest_boundary(conn)
        if last < oldest:
            raise history.unanswerable(last, oldest)
        times = _times(max(first, oldest), last, step)
        rows = conn.execute(SELECT_SERIES, {"times": times, "provider_id": provider_id})
        points = [Point(*row) for row in rows]
    kept_since = oldest if first < oldest else None
    return Series(provider_id, int(step.total_seconds()), kept_since, points)


def _times(first: datetime, last: datetime, step: timedelta) -> list[datetime]:
    start = datetime(1970, 1, 1, tzinfo=UTC)
    begin = -((start - first) // step)  # rounded up
    count = (last - start) // step - begin + 1
    if count > POINTS_MAX:
        raise Refusal(f"these are {count:,} points; {POINTS_MAX:,} at most: ask for a longer step")
    return [start + (begin + number) * step for number in range(max(0, count))]
