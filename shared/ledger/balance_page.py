"""Balances of one tick, page by page in the order of provider ids."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg

from shared import postgres
from shared.ledger import history

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
# All pages of one listing are of one tick: that of the first. Of each provider the newest balance:
# what a page costs does not grow with history. One statement, hence one snapshot: pruning beside it
# cannot take some of the balances away.
SELECT_PAGE: LiteralString = f"""
{PROVIDERS}, asked AS MATERIALIZED (
    SELECT epoch, boundary
      FROM tick
     WHERE boundary <= %(at)s
       AND (%(epoch)s::bigint IS NULL OR epoch = %(epoch)s::bigint)
     ORDER BY boundary DESC
     LIMIT 1
)
SELECT a.epoch, a.boundary, j.provider_id, b.key, b.balance::text
  FROM asked a
  LEFT JOIN jump j ON j.provider_id IS NOT NULL
  LEFT JOIN LATERAL (
       SELECT key, balance
         FROM balance
        WHERE provider_id BETWEEN j.provider_id AND j.provider_id
          AND epoch <= a.epoch
        ORDER BY provider_id DESC, epoch DESC
        LIMIT 1
       ) AS b ON true
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
        asked = {"after": LEAST if after is None else after, "most": most}
        rows = conn.execute(SELECT_PAGE, asked | {"at": at, "epoch": epoch}).fetchall()
        if not rows:
            raise history.unanswerable(at, _oldest(conn))
    found = [
        ShownBalance(provider_id, key, balance, boundary, of)
        for of, boundary, provider_id, key, balance in rows
        if key is not None
    ]
    of, boundary, last, *_ = rows[-1]  # without a provider after them there is a row all the same
    return Page(boundary, of, found, last if len(rows) == most else None)


def _oldest(conn: psycopg.Connection) -> datetime | None:
    row = conn.execute(history.SELECT_OLDEST).fetchone()
    return row[0] if row else None
