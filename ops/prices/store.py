"""Prices in SQL as operators write and read them: each change is on record, in its transaction."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, LiteralString

import psycopg

from ops import action
from ops.prices.csv_file import File
from shared import postgres, price_store
from shared.errors import Refusal
from shared.price_store import Named
from shared.unfit import Unfit

LINES_AT_ONCE = 5000

SELECT_CONFLICTS: LiteralString = """
SELECT g.number::int, p.source, p.source_id
  FROM unnest(%(symbols)s::text[], %(currencies)s::text[], %(days)s::date[], %(source_ids)s::text[])
       WITH ORDINALITY AS g (symbol, currency, day, source_id, number)
  JOIN price p ON p.symbol = g.symbol
              AND p.currency = g.currency
              AND p.day = g.day
 WHERE (p.source, p.source_id) <> (%(source)s::text, g.source_id)
 ORDER BY g.number
"""
CHOSEN: LiteralString = """
 WHERE symbol IS NOT NULL
   AND (%(symbol)s::text IS NULL OR symbol = %(symbol)s::text)
   AND (%(currency)s::text IS NULL OR currency = %(currency)s::text)
   AND (%(first)s::date IS NULL OR day >= %(first)s::date)
   AND (%(last)s::date IS NULL OR day <= %(last)s::date)
   AND (%(source)s::text IS NULL OR source = %(source)s::text)
"""
SELECT_PRICES: LiteralString = f"""
SELECT symbol, currency, day, trim_scale(price)::text, source, source_id, version
  FROM price
{CHOSEN}
 ORDER BY symbol, currency, day DESC
 LIMIT %(most)s
"""  # noqa: S608 - constants of ours only
# Names and versions stay: no late record of an older version brings one back.
DELETE: LiteralString = f"""
UPDATE price
   SET symbol = NULL,
       currency = NULL,
       day = NULL,
       price = NULL
{CHOSEN}
"""  # noqa: S608 - constants of ours only
SELECT_THAT_COUNTS: LiteralString = """
SELECT symbol, currency, day, trim_scale(price)::text, source, source_id, version
  FROM price
 WHERE symbol = %(symbol)s
   AND currency = %(currency)s
   AND day <= coalesce(%(day)s::date, (now() AT TIME ZONE 'UTC')::date)
 ORDER BY day DESC
 LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class StoredPrice:
    """A row of `price`: a decimal as digits, and where it came from."""

    symbol: str
    currency: str
    day: date
    price: str
    source: str
    source_id: str
    version: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which prices: those that fit everything that is given; days inclusive."""

    symbol: str | None = None
    currency: str | None = None
    first: date | None = None
    last: date | None = None
    source: str | None = None

    def as_detail(self) -> dict[str, str]:
        """Return, for the record, what was asked for."""
        return {name: str(one) for name, one in asdict(self).items() if one is not None}


@dataclass(frozen=True, slots=True)
class Imported:
    """How many prices were written, and how many ignored for a version that is not larger."""

    applied: int
    ignored: int


def put(
    conn: psycopg.Connection,
    file: File,
    noted: dict[str, Any],
    progress: Callable[[int], object],
    *,
    dry_run: bool,
) -> Imported:
    """Write all prices of a file in one transaction, or none: then the file has `invalid` lines.

    `noted` is what is kept on record of it. Raises `Refusal` and `Unavailable`.
    """
    applied = 0
    try:
        # A server that is lost before the rollback takes all back by itself.
        with suppress(psycopg.Rollback), postgres.translating(), conn.transaction() as whole:
            for start in range(0, len(file.prices), LINES_AT_ONCE):
                part = file.prices[start : start + LINES_AT_ONCE]
                _reject_conflicts(conn, file, start, part)
                if not file.invalid:
                    applied += price_store.put_all(conn, part)
                progress(len(part))
            done = Imported(applied, len(file.prices) - applied)
            action.note(conn, [noted | {"detail": noted["detail"] | asdict(done)}])
            if file.invalid or dry_run:
                raise psycopg.Rollback(whole)
    except Unfit as error:  # since the look at what is there
        said = "somebody else wrote prices of the same days at this moment: try again"
        raise Refusal(f"nothing was imported: {said}") from error
    return done


def _reject_conflicts(conn: psycopg.Connection, file: File, start: int, part: list[Named]) -> None:
    given: dict[str, object] = {
        "symbols": [one.price.symbol for one in part],
        "currencies": [one.price.currency for one in part],
        "days": [one.price.day for one in part],
        "source_ids": [one.source_id for one in part],
        "source": part[0].source,
    }
    for number, source, source_id in conn.execute(SELECT_CONFLICTS, given):
        price = part[number - 1].price
        said = f"the price of {price.symbol} in {price.currency} on {price.day} came from"
        file.reject(
            file.lines[start + number - 1], f"{said} {source} ({source_id}): delete it first"
        )


def select(conn: psycopg.Connection, choice: Choice, most: int) -> list[StoredPrice]:
    """Return prices by symbol and currency, the newest day first."""
    with postgres.translating():
        rows = conn.execute(SELECT_PRICES, asdict(choice) | {"most": most})
        return [StoredPrice(*row) for row in rows]


def that_counts(
    conn: psycopg.Connection, symbol: str, currency: str, day: date | None
) -> StoredPrice | None:
    """Return the price by which a day's balance is valued; today's without `day`."""
    given = {"symbol": symbol, "currency": currency, "day": day}
    with postgres.translating():
        row = conn.execute(SELECT_THAT_COUNTS, given).fetchone()
    return StoredPrice(*row) if row else None


def delete(conn: psycopg.Connection, choice: Choice, *, operator: str, dry_run: bool) -> int:
    """Delete prices in one transaction; return how many."""
    with postgres.translating(), conn.transaction(force_rollback=dry_run):
        gone = conn.execute(DELETE, asdict(choice)).rowcount
        noted = {
            "action": "prices_deleted",
            "subject": choice.symbol or choice.source or "",
            "outcome": "done",
            "operator": operator,
            "detail": {"chosen": choice.as_detail(), "prices": gone},
        }
        action.note(conn, [noted])
    return gone
