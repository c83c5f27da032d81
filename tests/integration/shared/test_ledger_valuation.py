"""Values and returns on Postgres, against a reference in `decimal`, whatever the books say."""

from datetime import date, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import Unanswerable
from shared.ledger import balance_page, return_store, returns, valuation
from shared.ledger.returns import Return, TotalReturn
from tests.support import made_up_books, reference_valuation
from tests.support.made_up_books import CURRENCIES, DAYS, PROVIDERS, books
from tests.support.reference_valuation import Books, Earned, plain

MADE_UP = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
asked = st.none() | st.sampled_from(CURRENCIES)


def priced_in(made: Books, provider: int, day: date, currency: str | None) -> list[str]:
    """Return the currencies that a provider has a value in."""
    of = (CURRENCIES if currency is None else (currency,)) if provider in made.symbols else ()
    symbol = made.symbols.get(provider, ("", 0))[0]
    return [one for one in of if reference_valuation.price(made, symbol, one, day) is not None]


def without(made: Books, provider: int) -> str:
    return "no_price" if provider in made.symbols else "no_symbol"


def valued(ours: psycopg.Connection, day: date, currency: str | None) -> dict[str, object]:
    """Return values by provider and currency, the reasons without, and the totals."""
    page = balance_page.page(ours, valuation.end_of(day), most=100)
    found = valuation.values(ours, page.balances, day, currency)
    summed = valuation.totals(ours, page.epoch, day, currency)
    return {
        "values": {(one.provider_id, one.currency): (one.value, one.reason) for one in found},
        "totals": {one.currency: (one.value, one.providers) for one in summed.totals},
        "not_valued": summed.not_valued,
    }


def expected_values(made: Books, day: date, currency: str | None) -> dict[str, object]:
    values: dict[object, object] = {}
    not_valued: dict[str, int] = {}
    parts = []
    for number, balance in (reference_valuation.balances(made, day) or {}).items():
        codes = priced_in(made, number, day, currency)
        for code in codes:
            worth = reference_valuation.value(made, number, balance, code, day)
            assert worth is not None
            parts.append((code, worth))
            values[number, code] = (plain(worth), None)
        if not codes:
            reason = without(made, number)
            values[number, currency] = (None, reason)
            not_valued[reason] = not_valued.get(reason, 0) + 1
    totals = reference_valuation.sums(parts)
    return {
        "values": values,
        "totals": {code: (plain(worth), number) for code, (worth, number) in totals.items()},
        "not_valued": not_valued,
    }


@MADE_UP
@given(made=books(), number=st.integers(-1, DAYS), currency=asked)
def test_values_are_those_of_the_reference(
    ours: psycopg.Connection, made: tuple[date, Books], number: int, currency: str | None
) -> None:
    first, known = made
    day = first + timedelta(days=number)
    with ours.transaction(force_rollback=True):
        made_up_books.write(ours, known)
        if reference_valuation.balances(known, day) is None:
            with pytest.raises(Unanswerable, match="nothing is kept of"):
                balance_page.page(ours, valuation.end_of(day), most=100)
        else:
            assert valued(ours, day, currency) == expected_values(known, day, currency)


def shown(found: Return | TotalReturn) -> tuple[object, ...]:
    return (
        found.value_start, found.value_end, found.flows, found.positive_flows, found.gain,
        found.rate_of_return, found.reason,
    )  # fmt: skip


def expected(found: Earned) -> tuple[object, ...]:
    parts = (found.start, found.end, found.flows, found.positive, found.gain, found.rate)
    why = "denominator_not_positive" if found.rate is None else None
    return (*map(plain, parts), why)


def expected_returns(
    made: Books, first: date, last: date, currency: str | None
) -> tuple[dict[object, object], dict[str, Earned]]:
    each: dict[object, object] = {}
    totals: dict[str, Earned] = {}
    for number in reference_valuation.there(made, first, last):
        codes = priced_in(made, number, first, currency)
        for code in codes:
            found = reference_valuation.earned(made, number, code, first, last)
            assert found is not None
            each[number, code] = expected(found)
            totals.setdefault(code, Earned()).add(found)
        if not codes:
            each[number, currency] = (None,) * 6 + (without(made, number),)
    return each, totals


@MADE_UP
@given(
    made=books(), start=st.integers(-1, DAYS), length=st.integers(0, DAYS), currency=asked,
    page=st.integers(1, 4),
)  # fmt: skip
def test_returns_are_those_of_the_reference(  # noqa: PLR0917 - hypothesis names them
    ours: psycopg.Connection,
    made: tuple[date, Books],
    start: int,
    length: int,
    currency: str | None,
    page: int,
) -> None:
    first = made[0] + timedelta(days=start)
    last, known = first + timedelta(days=length), made[1]
    with ours.transaction(force_rollback=True):
        made_up_books.write(ours, known)
        if reference_valuation.balances(known, first) is None:
            with pytest.raises(Unanswerable, match="nothing is kept of"):
                returns.days(ours, first, last)
            return
        days = returns.days(ours, first, last)
        found: list[Return] = []
        totals: list[TotalReturn] = []
        after = None
        while ids := returns.providers(ours, page, after):
            more = returns.returns(ours, ids, days, currency)
            totals, found, after = returns.add_up(ours, totals, more), found + more, ids[-1]

    each, summed = expected_returns(known, first, last, currency)
    assert {(one.provider_id, one.currency): shown(one) for one in found} == each
    assert {one.currency: (*shown(one), one.providers) for one in totals} == {
        code: (*expected(one), len(one.providers)) for code, one in summed.items()
    }


def test_a_rate_is_rounded_once_half_away_from_zero(ours: psycopg.Connection) -> None:
    """Of 3 it is 1/3; of 2e10 its half in the eleventh digit; rounded twice it would be another."""
    rates = {
        (1, 3): "0.3333333333", (2, 3): "0.6666666667", (-2, 3): "-0.6666666667",
        (1, 2 * 10**10): "0.0000000001", (-1, 2 * 10**10): "-0.0000000001",
        (49999999999999999999, 10**30): "0", (5, 10): "0.5", (0, 7): "0",
    }  # fmt: skip
    for (gain, denominator), rate in rates.items():
        query = f"SELECT {return_store.RATE} FROM (SELECT %s::numeric AS gain, %s::numeric) AS e (gain, denominator)"  # noqa: E501, S608 - a constant of ours
        assert ours.execute(query, [gain, denominator]).fetchone() == (rate,)


def test_only_providers_with_balances_are_walked_through(ours: psycopg.Connection) -> None:
    assert returns.providers(ours, 10) == []
    made_up_books.write(
        ours,
        Books(
            [
                reference_valuation.Past(
                    valuation.end_of(date(2024, 2, 29)), dict.fromkeys(PROVIDERS, 1)
                )
            ],
            {},
            {},
        ),
    )
    assert returns.providers(ours, 10) == list(PROVIDERS)
    assert returns.providers(ours, 2, PROVIDERS[0]) == list(PROVIDERS[1:3])
