"""A price: what one unit of a symbol costs in a currency on a day. Pure.

Read strictly, whether it comes as a change record or as a line of a file: nothing is guessed, and
nothing is rounded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from shared.change_record import name, present
from shared.json_object import a_kind
from shared.unfit import Unfit

WHOLE_DIGITS_MAX, FRACTION_DIGITS_MAX = 20, 18
CURRENCY = re.compile(r"[A-Z0-9]{1,16}", re.ASCII)
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Price:
    """`price` is a decimal in digits, as it was written: exact."""

    symbol: str
    currency: str
    day: date
    price: str


def read(fields: Mapping[str, Any]) -> Price:
    """Return the price that a record or a line describes. Raises `Unfit`."""
    return Price(
        name(fields, "symbol"),
        currency(_text(fields, "currency")),
        day(_text(fields, "day"), "day"),
        _price(present(fields, "price")),
    )


def currency(text: str) -> str:
    """Return a currency's code. Raises `Unfit`."""
    if not CURRENCY.fullmatch(text):
        raise Unfit("invalid_value", "currency must have 1 to 16 of A to Z and 0 to 9")
    return text


def day(text: str, field: str) -> date:
    """Return the day in `2026-11-28`. Raises `Unfit`."""
    if DAY.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass
    raise Unfit("invalid_value", f"{field} must be a day: 2026-11-28")


def _price(found: object) -> str:
    """Return its digits. A JSON number with a fraction is no decimal in most programs."""
    if isinstance(found, float):
        raise Unfit("wrong_type", 'price is a number with a fraction: write it as text, "1.0842"')
    if isinstance(found, bool) or not isinstance(found, int | str):
        raise Unfit("wrong_type", f"price is {a_kind(found)}, not a decimal as text")
    digits = DECIMAL.fullmatch(str(found))
    if digits is None:
        raise Unfit("invalid_value", "price must be a decimal of 0 or more: 1.0842")
    if len(digits[1].lstrip("0")) > WHOLE_DIGITS_MAX or len(digits[2] or "") > FRACTION_DIGITS_MAX:
        raise Unfit(
            "out_of_range",
            f"price must have {WHOLE_DIGITS_MAX} digits before the point at most,"
            f" and {FRACTION_DIGITS_MAX} after it",
        )
    return digits[0]


def _text(fields: Mapping[str, Any], field: str) -> str:
    found = present(fields, field)
    if not isinstance(found, str):
        raise Unfit("wrong_type", f"{field} is {a_kind(found)}, not text")
    return found
