"""Balances in SQL: the newest of each provider, and what is not counted in it yet."""

from dataclasses import dataclass
from typing import LiteralString

import psycopg

SELECT_BALANCES: LiteralString = """
WITH last AS (
    SELECT epoch, boundary, snapshot
      FROM tick
     WHERE NOT interim
     ORDER BY epoch DESC
     LIMIT 1
), fresh AS (
    SELECT o.provider_id, sum(o.amount) AS amount
      FROM outbox o
     WHERE o.xid >= (SELECT pg_snapshot_xmax(snapshot) FROM last)
        OR o.xid = ANY (ARRAY(SELECT pg_snapshot_xip(snapshot) FROM last))
     GROUP BY o.provider_id
), newest AS (
    SELECT DISTINCT ON (provider_id) provider_id, key, balance
      FROM balance
     WHERE epoch <= (SELECT epoch FROM last)
     ORDER BY provider_id, epoch DESC
)
SELECT coalesce(n.provider_id, f.provider_id),
       coalesce(p.id || '_' || p.provider_name, n.key), n.key,
       coalesce(n.balance, 0)::text, coalesce(f.amount, 0)::text
  FROM newest n
  FULL JOIN fresh f ON f.provider_id = n.provider_id
  LEFT JOIN initial_data p ON p.id = coalesce(n.provider_id, f.provider_id)
 WHERE n.key IS NOT NULL
    OR p.id IS NOT NULL
 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Balance:
    """A provider's balance at the last tick, and what has been committed since (minor units).

    `key` is what it is shown under from the next tick on, `shown_as` what it was at the last one.
    """

    provider_id: int
    key: str
    shown_as: str | None
    balance: int
    uncounted: int


def newest(conn: psycopg.Connection) -> list[Balance]:
    """Return the balances at the last tick, of every provider that there is or was then."""
    return [
        Balance(provider, key, shown, int(balance), int(amount))
        for provider, key, shown, balance, amount in conn.execute(SELECT_BALANCES)
    ]
