"""What balances are worth by the prices of a day.

A value is balance x 10^-scale x price, and a total the sum of values: `numeric` computes both
exactly, and nothing is rounded. The balance of a day is that of the last tick until its end,
midnight in UTC; its price is the newest that is not after the day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Literal, LiteralString

import psycopg

from shared import postgres
from shared.ledger import history
from shared.ledger.balance_page import ShownBalance
from shared.ledger.balances import NEWEST_BALANCES

Unvalued = Literal["no_symbol", "no_price"]
"""Why there is no value: the provider has no symbol; its symbol has no price on the day or before,
in the currency that was asked for or in any."""
FIRST_CURRENCY, LAST_CURRENCY = "", "~"
"""Before and after every currency, byte by byte."""

# From currency to currency by the index, however many days each has prices of.
CURRENCIES: LiteralString = """
WITH RECURSIVE priced AS (
    (SELECT currency
       FROM price
      WHERE symbol = s.symbol
        AND currency >= %(first_currency)s
        AND currency <= %(last_currency)s
      ORDER BY currency
      LIMIT 1)
     UNION ALL
    SELECT (SELECT currency
              FROM price
             WHERE symbol = s.symbol
               AND currency > p.currency
               AND currency <= %(last_currency)s
             ORDER BY currency
             LIMIT 1)
      FROM priced p
     WHERE p.currency IS NOT NULL
)
SELECT currency
  FROM priced
 WHERE currency IS NOT NULL
"""
"""The currencies that a symbol of `s` has prices in, within those asked for."""
QUOTES: LiteralString = f"""
quote AS MATERIALIZED (
    SELECT s.symbol, c.currency, q.price, q.day
      FROM (SELECT DISTINCT symbol FROM holding WHERE symbol IS NOT NULL) AS s
     CROSS JOIN LATERAL ({CURRENCIES}) AS c
     CROSS JOIN LATERAL (
           SELECT price, day
             FROM price
            WHERE symbol = s.symbol
              AND currency = c.currency
              AND day <= %(day)s
            ORDER BY day DESC
            LIMIT 1
           ) AS q
)
"""  # noqa: S608 - constants of ours only
SELECT_VALUES: LiteralString = f"""
WITH holding AS MATERIALIZED (
    SELECT h.provider_id, h.balance, s.symbol, s.scale
      FROM unnest(%(ids)s::bigint[], %(balances)s::numeric[]) AS h (provider_id, balance)
      LEFT JOIN provider_symbol s ON s.provider_id = h.provider_id
), {QUOTES}
SELECT h.provider_id, h.balance::text, h.symbol, h.scale,
       coalesce(q.currency, %(currency)s::text), trim_scale(q.price)::text, q.day,
       trim_scale(h.balance * ('1e-' || h.scale)::numeric * q.price)::text,
       CASE WHEN h.symbol IS NULL THEN 'no_symbol'
            WHEN q.symbol IS NULL THEN 'no_price'
       END
  FROM holding h
  LEFT JOIN quote q ON q.symbol = h.symbol
 ORDER BY h.provider_id, q.currency
"""  # noqa: S608 - constants of ours only
# Added up by symbol and scale first: each of them has one price.
TOTALS: LiteralString = f"""
{QUOTES}
SELECT q.currency, trim_scale(sum(h.balance * ('1e-' || h.scale)::numeric * q.price))::text,
       sum(h.providers)::bigint,
       CASE WHEN h.symbol IS NULL THEN 'no_symbol'
            WHEN q.symbol IS NULL THEN 'no_price'
       END AS reason
  FROM holding h
  LEFT JOIN quote q ON q.symbol = h.symbol
 GROUP BY q.currency, reason
 ORDER BY q.currency, reason
"""  # noqa: S608 - constants of ours only
SELECT_TOTALS: LiteralString = f"""
WITH RECURSIVE asked AS MATERIALIZED (
    SELECT %(epoch)s::bigint AS epoch
), {NEWEST_BALANCES}, holding AS MATERIALIZED (
    SELECT s.symbol, s.scale, sum(b.balance) AS balance, count(*) AS providers
      FROM newest_balance b
      LEFT JOIN provider_symbol s ON s.provider_id = b.provider_id
     WHERE b.key IS NOT NULL
     GROUP BY s.symbol, s.scale
), {TOTALS}
"""  # noqa: S608 - constants of ours only
# What it costs grows with the providers that have a symbol, and with no other.
SELECT_TOTALS_OF_SYMBOLS: LiteralString = f"""
WITH holding AS MATERIALIZED (
    SELECT s.symbol, s.scale, sum(b.balance) AS balance, count(*) AS providers
      FROM provider_symbol s
     CROSS JOIN LATERAL (
           SELECT key, balance
             FROM balance
            WHERE provider_id BETWEEN s.provider_id AND s.provider_id
              AND epoch <= %(epoch)s
            ORDER BY provider_id DESC, epoch DESC
            LIMIT 1
           ) AS b
     WHERE b.key IS NOT NULL
     GROUP BY s.symbol, s.scale
), {TOTALS}
"""  # noqa: S608 - constants of ours only


@dataclass(frozen=True, slots=True)
class Value:
    """What a provider's balance (minor units) is worth in a currency; decimals as digits, exact.

    `price_day` is since when its price holds. Without a value there is a reason.
    """

    provider_id: int
    key: str
    balance: str
    symbol: str | None
    scale: int | None
    currency: str | None
    price: str | None
    price_day: date | None
    value: str | None
    reason: Unvalued | None


@dataclass(frozen=True, slots=True)
class Total:
    """The sum of the values in a currency, and of how many providers."""

    currency: str
    value: str
    providers: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The total of each currency, and how many providers have no value, by reason."""

    totals: list[Total]
    not_valued: dict[Unvalued, int]


def end_of(day: date) -> datetime:
    """Return the midnight (UTC) that a day ends with."""
    return datetime.combine(day, time_of_day(), UTC) + timedelta(days=1)


def today(conn: psycopg.Connection) -> date:
    """Return the day (UTC) by Postgres's clock; psycopg's errors pass."""
    return history.now(conn).astimezone(UTC).date()


def values(
    conn: psycopg.Connection, balances: Sequence[ShownBalance], day: date, currency: str | None
) -> list[Value]:
    """Return what balances are worth in a currency, or in each that their symbols have prices in.

    One value for each provider and currency, in the order of both. Raises `Unavailable`.
    """
    ids = [one.provider_id for one in balances]
    amounts = [one.balance for one in balances]
    keys = {one.provider_id: one.key for one in balances}
    given = {"ids": ids, "balances": amounts, "day": day} | within(currency)
    with postgres.translating():
        rows = conn.execute(SELECT_VALUES, given).fetchall()
    return [Value(number, keys[number], *rest) for number, *rest in rows]


def totals(conn: psycopg.Connection, epoch: int, day: date, currency: str | None) -> Totals:
    """Return the totals of all providers in tick `epoch`. Raises `Unavailable`."""
    given = {"day": day, "epoch": epoch} | within(currency)
    with postgres.translating():
        rows = conn.execute(SELECT_TOTALS, given).fetchall()
    return Totals(
        [Total(*row) for *row, reason in rows if not reason],
        {reason: providers for _, _, providers, reason in rows if reason},
    )


def totals_of_symbols(conn: psycopg.Connection, epoch: int, day: date) -> list[Total]:
    """Return the same totals alone, in each currency. Raises `Unavailable`."""
    given = {"day": day, "epoch": epoch} | within(None)
    with postgres.translating():
        rows = conn.execute(SELECT_TOTALS_OF_SYMBOLS, given).fetchall()
    return [Total(*row) for *row, reason in rows if not reason]


def within(currency: str | None) -> dict[str, object]:
    """Return the range of currencies that are meant: one, or all."""
    return {
        "currency": currency,
        "first_currency": FIRST_CURRENCY if currency is None else currency,
        "last_currency": LAST_CURRENCY if currency is None else currency,
    }
