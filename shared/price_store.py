"""Prices in SQL. Every function works in its caller's transaction and never commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg

from shared.change_record import ChangeRecord, Outcome
from shared.price import Price
from shared.unfit import Unfit

DAY_KEY = "price_day_key"
"""The constraint by which a symbol has one price in a currency on a day."""

# Each is written at most once by a statement: the caller sees to that.
UPSERT: LiteralString = """
INSERT INTO price AS p (symbol, currency, day, price, source, source_id, version)
SELECT *
  FROM unnest(%(symbols)s::text[], %(currencies)s::text[], %(days)s::date[], %(prices)s::numeric[],
              %(sources)s::text[], %(source_ids)s::text[], %(versions)s::bigint[])
ON CONFLICT (source, source_id) DO UPDATE
   SET symbol = excluded.symbol,
       currency = excluded.currency,
       day = excluded.day,
       price = excluded.price,
       version = coalesce(excluded.version, p.version)
 WHERE p.version IS NULL
    OR excluded.version IS NULL
    OR excluded.version > p.version
"""
# A tombstone keeps the largest version that is known: it holds against all up to that one.
REMOVE: LiteralString = """
INSERT INTO price AS p (source, source_id, version)
VALUES (%(source)s, %(source_id)s, %(version)s)
ON CONFLICT (source, source_id) DO UPDATE
   SET symbol = NULL,
       currency = NULL,
       day = NULL,
       price = NULL,
       version = coalesce(excluded.version, p.version)
 WHERE p.version IS NULL
    OR excluded.version IS NULL
    OR excluded.version > p.version
"""


@dataclass(frozen=True, slots=True)
class Named:
    """A price, and what it is called where it comes from."""

    price: Price
    source: str
    source_id: str
    version: int | None


def put(conn: psycopg.Connection, record: ChangeRecord, price: Price) -> Outcome:
    """Add or change a price. Raises `Unfit`, after which the caller has to roll back."""
    named = Named(price, record.source, record.source_id, record.version)
    return "applied" if put_all(conn, [named]) else "ignored"


def put_all(conn: psycopg.Connection, prices: Sequence[Named]) -> int:
    """Write prices, no name twice; return how many: those of no larger version are ignored.

    Raises `Unfit` if another record gave one of such a day: the caller has to roll back.
    """
    given: dict[str, object] = {
        "symbols": [one.price.symbol for one in prices],
        "currencies": [one.price.currency for one in prices],
        "days": [one.price.day for one in prices],
        "prices": [one.price.price for one in prices],
        "sources": [one.source for one in prices],
        "source_ids": [one.source_id for one in prices],
        "versions": [one.version for one in prices],
    }
    try:
        return conn.execute(UPSERT, given).rowcount
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name != DAY_KEY:
            raise
        said = "another record gave a price of this symbol, currency and day"
        raise Unfit("price_conflict", said) from error


def remove(conn: psycopg.Connection, record: ChangeRecord) -> Outcome:
    """Remove a price; a tombstone stays, also of one that was not known."""
    given = {"source": record.source, "source_id": record.source_id, "version": record.version}
    return "applied" if conn.execute(REMOVE, given).rowcount else "ignored"
