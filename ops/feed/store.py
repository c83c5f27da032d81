"""Which due ticks can be told again, each with the one before it."""

from typing import LiteralString

import psycopg

from shared.errors import Refusal
from shared.follower_store import Span, Tick

SELECT_SPANS: LiteralString = """
SELECT t.epoch, t.token, t.boundary, t.snapshot::text,
       b.epoch, b.token, b.boundary, b.snapshot::text, counted.rows::bigint,
       counted.baseline
  FROM tick t
  LEFT JOIN LATERAL (
       SELECT *
         FROM tick
        WHERE epoch < t.epoch
          AND NOT interim
        ORDER BY epoch DESC
        LIMIT 1
       ) AS b ON true
 CROSS JOIN LATERAL (
       SELECT sum(rows) AS rows,
              coalesce(bool_or(system_identifier <> b.system_identifier), true) AS baseline
         FROM tick
        WHERE epoch > b.epoch
          AND epoch <= t.epoch
       ) AS counted
 WHERE t.epoch BETWEEN %(first)s AND %(last)s
   AND NOT t.interim
 ORDER BY t.epoch
"""

SELECT_NEWEST: LiteralString = "SELECT max(epoch) FROM tick WHERE NOT interim"


def spans(conn: psycopg.Connection, first: int, last: int | None) -> list[Span]:
    """Return the due ticks from epoch `first` to `last`, or to the newest one, in order.

    Raises `Refusal` without one, and where one does not follow a tick that is kept.
    """
    if last is None:
        ((last,),) = conn.execute(SELECT_NEWEST).fetchall()
    rows = conn.execute(SELECT_SPANS, {"first": first, "last": last}).fetchall()
    if not rows:
        raise Refusal(f"there is no due tick from epoch {first} to {last}")
    for row in rows:
        if row[9]:
            raise Refusal(
                f"epoch {row[0]} is a baseline, or the oldest tick that is kept: nothing says what"
                " it changed; 'ops followers anew feed' has all balances read"
            )
    return [Span(Tick(*row[4:8]), Tick(*row[:4]), row[8]) for row in rows]
