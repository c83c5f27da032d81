"""What balances earned between the ends of two days, by the prices of each day between them.

The flow of a day is the difference of its balance from that of the day before, valued at the day's
price: what came in or went out, as opposed to what prices did. Then

    rate of return = (value at the end - value at the start - flows)
                     / (value at the start + positive flows)

All but the rate is exact. The rate is rounded once, half away from zero, to 10 digits after the
point. A provider that is not there on a day has a balance of 0.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import date
from typing import Literal, cast

import psycopg

from shared import postgres
from shared.ledger import history, return_store
from shared.ledger.balance_page import LEAST
from shared.ledger.valuation import Unvalued, end_of, within

NoRate = Literal[Unvalued, "denominator_not_positive"]
"""Why there is no rate: there is no value, or the denominator is 0 or less."""


@dataclass(frozen=True, slots=True)
class Days:
    """The days of a time, the first being the start, and the epoch that each ended with."""

    days: list[date]
    epochs: list[int]


@dataclass(frozen=True, slots=True)
class Return:
    """What a provider's balance earned in a currency; decimals as digits, exact but the rate.

    Without a value there is a reason, and without a rate.
    """

    provider_id: int
    key: str
    symbol: str | None
    currency: str | None
    value_start: str | None
    value_end: str | None
    flows: str | None
    positive_flows: str | None
    gain: str | None
    rate_of_return: str | None
    reason: NoRate | None


@dataclass(frozen=True, slots=True)
class TotalReturn:
    """The same of all providers together that have values in a currency."""

    currency: str
    providers: int
    value_start: str
    value_end: str
    flows: str
    positive_flows: str
    gain: str
    rate_of_return: str | None
    reason: NoRate | None


def days(conn: psycopg.Connection, first: date, last: date, epoch: int | None = None) -> Days:
    """Return the days from `first` to `last`, not before it, as they were at tick `epoch`.

    Raises `Unanswerable` for a day that ended before the oldest tick that is kept, and
    `Unavailable`.
    """
    with postgres.translating():
        oldest = history.oldest_boundary(conn)
        if end_of(first) < oldest:
            raise history.unanswerable(end_of(first), oldest)
        given = {"first": first, "last": last, "epoch": epoch}
        rows = conn.execute(return_store.SELECT_DAYS, given).fetchall()
    return Days([day for day, _ in rows], [epoch for _, epoch in rows])


def providers(conn: psycopg.Connection, most: int, after: int | None = None) -> list[int]:
    """Return the next providers in order, of all that have ever been."""
    given = {"after": LEAST if after is None else after, "most": most}
    with postgres.translating():
        return [number for (number,) in conn.execute(return_store.SELECT_PROVIDERS, given)]


def returns(
    conn: psycopg.Connection, ids: Sequence[int], days: Days, currency: str | None
) -> list[Return]:
    """Return what these earned in a currency, or in each that their symbols have prices in.

    One for each provider that was there on one of the days, and currency. Raises `Unavailable`.
    """
    given = within(currency) | {
        "ids": list(ids), "days": days.days, "epochs": days.epochs,
        "first": days.days[0], "last": days.days[-1],
    }  # fmt: skip
    with postgres.translating():
        return [Return(*row) for row in conn.execute(return_store.SELECT_RETURNS, given)]


def add_up(
    conn: psycopg.Connection, so_far: Iterable[TotalReturn], more: Iterable[Return]
) -> list[TotalReturn]:
    """Return the totals of what was added up before and of `more`. Raises `Unavailable`."""
    parts = [astuple(one)[:6] for one in so_far]
    parts += [
        (one.currency, 1, one.value_start, one.value_end, one.flows, one.positive_flows)
        for one in more
        if one.value_start is not None
    ]
    names = ("currencies", "providers", "starts", "ends", "flows", "positives")
    columns = zip(*parts, strict=True) if parts else ([] for _ in names)
    given = {name: list(column) for name, column in zip(names, columns, strict=True)}
    with postgres.translating():
        return [TotalReturn(*row) for row in conn.execute(return_store.ADD_UP, given)]


def totals(
    conn: psycopg.Connection, days: Days, currency: str | None, lookups_max: int
) -> tuple[list[TotalReturn], Counter[Unvalued]] | None:
    """Return the totals of all providers, and how many have no value, by reason.

    None if more balances than so many were to be looked up for it. Raises `Unavailable`.
    """
    most = lookups_max // len(days.days)
    ids = providers(conn, most + 1)
    if len(ids) > most:
        return None
    found = returns(conn, ids, days, currency)
    return add_up(conn, [], found), not_valued(found)


def not_valued(found: Iterable[Return]) -> Counter[Unvalued]:
    """Return how many providers have no value, by reason."""
    reasons = (one.reason for one in found if one.value_start is None)
    return Counter(cast("Unvalued", one) for one in reasons)
