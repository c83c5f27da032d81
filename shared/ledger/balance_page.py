"""Balances of one tick, page by page in the order of provider ids."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from shared import postgres
from shared.ledger import history

# All pages of one listing are of one tick: that of the first.
SELECT_TICK: LiteralString = """
SELECT epoch, boundary
  FROM tick
 WHERE boundary <= %(at)s
   AND (%(epoch)s::bigint IS NULL OR epoch = %(epoch)s::bigint)
 ORDER BY boundary DESC
 LIMIT 1
"""
# From provider to provider by the index, whatever is kept of each.
PROVIDERS: LiteralString = """
WITH RECURSIVE jump AS (
    (SELECT provider_id, 1 AS number
       FROM balance
      WHERE provider_id > %(after)s
      ORDER BY provider_id
      LIMIT 1)
     UNION ALL
    SELECT (SELECT provider_id
              FROM balance
             WHERE provider_id > j.provider_id
             ORDER BY provider_id
             LIMIT 1), number + 1
      FROM jump j
     WHERE j.provider_id IS NOT NULL
       AND number < %(most)s
)
"""
# Of each the newest balance: what a page costs does not grow with history.
SELECT_PAGE: LiteralString = f"""
{PROVIDERS}
SELECT j.provider_id, b.key, b.balance::text
  FROM jump j
  LEFT JOIN LATERAL (
       SELECT key, balance
         FROM balance
        WHERE provider_id BETWEEN j.provider_id AND j.provider_id
          AND epoch <= %(epoch)s
        ORDER BY provider_id DESC, epoch DESC
        LIMIT 1
       ) AS b ON true
 WHERE j.provider_id IS NOT NULL
 ORDER BY j.provider_id
"""  # noqa: S608 - constants of ours only
LEAST = -(2**63)


@dataclass(frozen=True, slots=True)
class ShownBalance:
    """A provider's balance (minor units, as digits) in the tick of a boundary."""

    provider_id: int
    key: str
    balance: str
    tick: datetime
    epoch: int


@dataclass(frozen=True, slots=True)
class Page:
    """Balances of one tick; `after` is the provider to go on from, None at the end."""

    tick: datetime
    epoch: int
    balances: list[ShownBalance]
    after: int | None


def page(
    conn: psycopg.Connection,
    at: datetime,
    *,
    most: int,
    after: int | None = None,
    epoch: int | None = None,
) -> Page:
    """Return `most` balances of the last tick until `at`, or of `epoch`, `after` a provider.

    Providers that were no more are left out, so a page may be shorter. Raises `Unanswerable` for a
    time before the oldest tick, and `Unavailable`.
    """
    with postgres.translating():
        tick = conn.execute(SELECT_TICK, {"at": at, "epoch": epoch}).fetchone()
        if tick is None:
            raise history.unanswerable(at, _oldest(conn))
        asked = {"after": LEAST if after is None else after, "most": most, "epoch": tick[0]}
        rows = conn.execute(SELECT_PAGE, asked).fetchall()
    found = [
        ShownBalance(provider_id, key, balance, tick[1], tick[0])
        for provider_id, key, balance in rows
        if key is not None
    ]
    return Page(tick[1], tick[0], found, rows[-1][0] if len(rows) == most else None)


def _oldest(conn: psycopg.Connection) -> datetime | None:
    row = conn.execute(history.SELECT_OLDEST).fetchone()
    return row[0] if row else None
