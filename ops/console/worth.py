"""What the balances of a page are worth, and the totals: once somebody said what they are in.

Prices come after the tick that they value, also for days long past: it is asked at each poll.
"""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from itertools import chain
from threading import Lock
from typing import LiteralString, Protocol

import psycopg

from ops.console.balance_store import Last
from shared import postgres
from shared.ledger import valuation
from shared.ledger.balance_page import ShownBalance
from shared.ledger.valuation import Total

SYMBOLS_MAX = 10_000
"""Providers with a symbol, at most: for more of them the totals are left to `ops value`."""
TOTALS_LAST_S = 2.0
"""What costs the most is asked once in this time, however many pages are looked at."""
EXACT = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Sums are rounded to 28 digits otherwise."""

COUNT_SYMBOLS: LiteralString = """
SELECT count(*)
  FROM (SELECT provider_id
          FROM provider_symbol
         ORDER BY provider_id
         LIMIT %(most)s) AS those
"""


class Held(Protocol):
    """A row of the page: a provider and its balance in minor units."""

    @property
    def id(self) -> int:
        """The provider's."""

    @property
    def key(self) -> str:
        """What KeyDB shows it under."""

    @property
    def balance(self) -> int:
        """In minor units."""


@dataclass(frozen=True, slots=True)
class Worth:
    """Values of a page's providers, as texts with their currency, and the totals of all."""

    values: dict[int, list[str]]
    totals: list[Total]
    too_many: bool


def joined(each: Sequence[Worth]) -> Worth:
    """Return the worth of a page with rows of several shards, and the totals of all of them."""
    totals: dict[str, Total] = {}
    for one in chain.from_iterable(worth.totals for worth in each):
        so_far = totals.get(one.currency, Total(one.currency, "0", 0))
        value = EXACT.normalize(EXACT.add(Decimal(so_far.value), Decimal(one.value)))
        both = so_far.providers + one.providers
        totals[one.currency] = Total(one.currency, format(value, "f"), both)
    values = {provider: texts for worth in each for provider, texts in worth.values.items()}
    ordered = [totals[name] for name in sorted(totals)]
    return Worth(values, ordered, any(worth.too_many for worth in each))


class Valuer:
    """Says what balances of one Postgres are worth; safe to use from several threads."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._lock = Lock()
        self._asked: tuple[Last, float, Future[list[Total]]] | None = None

    def worth(self, conn: psycopg.Connection, rows: Iterable[Held], tick: Last) -> Worth | None:
        """Return what the balances of a tick are worth in each currency.

        None as long as no provider has a symbol. The prices are those of the day that the tick
        ended, or is in. Raises `Unavailable`.
        """
        with postgres.translating():
            ((symbols,),) = conn.execute(COUNT_SYMBOLS, {"most": SYMBOLS_MAX + 1}).fetchall()
        if not symbols:
            return None
        day = (tick.boundary.astimezone(UTC) - timedelta(microseconds=1)).date()
        shown = [
            ShownBalance(one.id, one.key, str(one.balance), tick.boundary, tick.epoch)
            for one in rows
        ]
        values: dict[int, list[str]] = {}
        for one in valuation.values(conn, shown, day, None):
            if one.value is not None:
                values.setdefault(one.provider_id, []).append(f"{one.value} {one.currency}")
        too_many = symbols > SYMBOLS_MAX
        totals = [] if too_many else self._totals(conn, tick, day)
        return Worth(values, totals, too_many)

    def _totals(self, conn: psycopg.Connection, tick: Last, day: date) -> list[Total]:
        """Pages of one poll begin together: the first one asks, the others wait for its answer."""
        now = time.monotonic()
        with self._lock:
            if self._asked and self._asked[0] == tick and now - self._asked[1] < TOTALS_LAST_S:
                running, asks = self._asked[2], False
            else:
                running, asks = Future[list[Total]](), True
                self._asked = (tick, now, running)
        if not asks:
            return running.result()
        try:
            totals = valuation.totals_of_symbols(conn, tick.epoch, day)
        except BaseException as error:
            with self._lock:  # the next one asks again
                self._asked = None
            running.set_exception(error)
            raise
        running.set_result(totals)
        return totals
