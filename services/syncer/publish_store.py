"""Publishing's SQL: which ticks are ours, what to send to KeyDB, when KeyDB applied it.

Also how far apart ticks are, for a syncer that stands by and gets none.
"""

from typing import LiteralString

import psycopg

from services.syncer.core import Watermark
from shared.ledger.balances import NEWEST_BALANCES

SELECT_OURS: LiteralString = """
SELECT
  FROM tick
 WHERE epoch = %(epoch)s
   AND token = %(token)s
"""

SELECT_PASSED_OVER: LiteralString = """
SELECT
  FROM tick
 WHERE epoch > %(known)s
   AND epoch < %(target)s
   AND NOT interim
 LIMIT 1
"""

SELECT_CHANGED: LiteralString = """
SELECT DISTINCT ON (provider_id) key, balance::text
  FROM balance
 WHERE epoch > %(known)s
   AND epoch <= %(target)s
 ORDER BY provider_id, epoch DESC
"""

# KeyDB shows exactly what held at `known`, so only those keys can have to go.
SELECT_OLD_KEYS: LiteralString = """
SELECT b.key
  FROM (SELECT DISTINCT provider_id
          FROM balance
         WHERE epoch > %(known)s
           AND epoch <= %(target)s
           AND key_changed) AS c
 CROSS JOIN LATERAL (
       SELECT key
         FROM balance
        WHERE provider_id = c.provider_id
          AND epoch <= %(known)s
        ORDER BY epoch DESC
        LIMIT 1
       ) AS b
 WHERE b.key IS NOT NULL
"""

SELECT_ALL: LiteralString = (
    """
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT %(target)s::bigint AS epoch
), """  # noqa: S608 - put together from constants
    + NEWEST_BALANCES
    + """
SELECT key, balance::text
  FROM newest_balance
 WHERE key IS NOT NULL
"""
)

SELECT_INTERVAL: LiteralString = """
SELECT extract(epoch FROM nullif(max(boundary) - min(boundary), interval '0'))::float8
  FROM (SELECT boundary
          FROM tick
         WHERE NOT interim
         ORDER BY epoch DESC
         LIMIT 2) AS last
"""

UPDATE_PUBLISHED: LiteralString = """
UPDATE tick
   SET published_at = to_timestamp(%(applied_at_s)s)
 WHERE epoch = %(epoch)s
   AND published_at IS NULL
"""

STATEMENTS = (SELECT_OURS, SELECT_CHANGED, SELECT_OLD_KEYS, SELECT_ALL, UPDATE_PUBLISHED)
"""Tried out at each connection: they need all rights that publishing needs."""


def is_ours(conn: psycopg.Connection, watermark: Watermark) -> bool:
    """Say whether this database wrote the tick."""
    pair = {"epoch": watermark.epoch, "token": watermark.token}
    return conn.execute(SELECT_OURS, pair).rowcount == 1


def is_successor(conn: psycopg.Connection, known: int, target: int) -> bool:
    """Say whether no due tick lies between the epochs `known` and `target`."""
    return not conn.execute(SELECT_PASSED_OVER, {"known": known, "target": target}).rowcount


def changes(conn: psycopg.Connection, known: int, target: int) -> tuple[dict[str, str], set[str]]:
    """Return what takes KeyDB from epoch `known` to `target`: values to set, keys to remove."""
    span = {"known": known, "target": target}
    changed = conn.execute(SELECT_CHANGED, span)
    values = {key: balance for key, balance in changed if key is not None}
    old = {key for (key,) in conn.execute(SELECT_OLD_KEYS, span)}
    return values, old - values.keys()


def everything(conn: psycopg.Connection, target: int) -> dict[str, str]:
    """Return all that KeyDB has to show at epoch `target`."""
    return dict(conn.execute(SELECT_ALL, {"target": target}).fetchall())


def note_published(conn: psycopg.Connection, epoch: int, applied_at_s: float) -> bool:
    """Note when KeyDB applied the tick, by its own clock; say whether that was not known yet."""
    values = {"epoch": epoch, "applied_at_s": applied_at_s}
    return conn.execute(UPDATE_PUBLISHED, values).rowcount == 1


def interval_s(conn: psycopg.Connection) -> float | None:
    """Return what lies between the last two boundaries; None without two of them."""
    row = conn.execute(SELECT_INTERVAL).fetchone()
    return row[0] if row else None
