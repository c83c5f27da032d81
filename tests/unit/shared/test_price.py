"""A price is read strictly: exact decimals, real days, nothing guessed."""

from datetime import date
from typing import Any

import pytest

from shared import price
from shared.price import Price
from shared.unfit import Unfit

EURO: dict[str, Any] = {
    "symbol": "EUR", "currency": "USD", "day": "2026-11-28", "price": "1.0842",
}  # fmt: skip


def test_a_price_is_kept_digit_by_digit() -> None:
    assert price.read(EURO) == Price("EUR", "USD", date(2026, 11, 28), "1.0842")
    for given, kept in (("0", "0"), (7, "7"), ("1.10", "1.10"), ("0" * 9 + "1", "0" * 9 + "1")):
        assert price.read(EURO | {"price": given}).price == kept
    longest = f"{'9' * 20}.{'9' * 18}"
    assert price.read(EURO | {"price": longest}).price == longest


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("wrong_type", {"price": 1.0842}),
        ("wrong_type", {"price": True}),
        ("wrong_type", {"price": None}),
        ("invalid_value", {"price": "-1"}),
        ("invalid_value", {"price": -1}),
        ("invalid_value", {"price": "1e3"}),
        ("invalid_value", {"price": "1,5"}),
        ("invalid_value", {"price": ".5"}),
        ("invalid_value", {"price": "5."}),
        ("invalid_value", {"price": " 5"}),
        ("invalid_value", {"price": ""}),
        ("invalid_value", {"price": "NaN"}),
        ("invalid_value", {"price": "Infinity"}),
        ("invalid_value", {"price": "٣"}),
        ("out_of_range", {"price": "1" + "0" * 20}),
        ("out_of_range", {"price": 10**20}),
        ("out_of_range", {"price": "0." + "0" * 18 + "1"}),
        ("invalid_value", {"currency": "usd"}),
        ("invalid_value", {"currency": ""}),
        ("invalid_value", {"currency": "A" * 17}),
        ("wrong_type", {"currency": 840}),
        ("invalid_value", {"day": "2026-02-29"}),
        ("invalid_value", {"day": "2026-11-28T00:00:00Z"}),
        ("invalid_value", {"day": "20261128"}),
        ("invalid_value", {"day": "0000-01-01"}),
        ("wrong_type", {"day": 20261128}),
        ("out_of_range", {"symbol": ""}),
        ("out_of_range", {"symbol": "x" * 256}),
        ("invalid_value", {"symbol": "x\0"}),
        ("wrong_type", {"symbol": 1}),
    ],
)
def test_what_is_no_price_is_unfit(reason: str, change: dict[str, Any]) -> None:
    with pytest.raises(Unfit) as caught:
        price.read(EURO | change)
    assert caught.value.reason == reason


@pytest.mark.parametrize("field", EURO)
def test_a_field_that_is_missing_is_named(field: str) -> None:
    with pytest.raises(Unfit, match=f"the field {field} is missing"):
        price.read({name: one for name, one in EURO.items() if name != field})


def test_a_leap_day_is_a_day() -> None:
    assert price.read(EURO | {"day": "2024-02-29"}).day == date(2024, 2, 29)
