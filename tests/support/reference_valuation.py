"""What balances are worth and earn, worked out in `decimal` by someone who knows no SQL."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal

EXACT = Context(prec=500)
"""More digits than any sum here has: nothing is rounded."""
TEN_DIGITS = Decimal("1e-10")

Prices = Mapping[tuple[str, str, date], str]
Symbols = Mapping[int, tuple[str, int]]


@dataclass(frozen=True)
class Past:
    """A tick: the balance of each provider that it changed; None: the provider is no more."""

    boundary: datetime
    changed: Mapping[int, int | None]


@dataclass(frozen=True)
class Books:
    """All that is known."""

    ticks: list[Past]
    symbols: Symbols
    prices: Prices


@dataclass
class Earned:
    """What a provider, or all of a currency, earned."""

    start: Decimal = Decimal()
    end: Decimal = Decimal()
    flows: Decimal = Decimal()
    positive: Decimal = Decimal()
    providers: set[int] = field(default_factory=set)

    @property
    def gain(self) -> Decimal:
        """What prices did."""
        return EXACT.subtract(EXACT.subtract(self.end, self.start), self.flows)

    @property
    def rate(self) -> Decimal | None:
        """The rate of return; None without a positive denominator."""
        denominator = EXACT.add(self.start, self.positive)
        if denominator <= 0:
            return None
        # Enough digits that no half is made up or lost by the division.
        quotient = EXACT.divide(self.gain, denominator)
        return quotient.quantize(TEN_DIGITS, ROUND_HALF_UP, EXACT)

    def add(self, other: "Earned") -> None:
        """Add what another one earned."""
        self.start = EXACT.add(self.start, other.start)
        self.end = EXACT.add(self.end, other.end)
        self.flows = EXACT.add(self.flows, other.flows)
        self.positive = EXACT.add(self.positive, other.positive)
        self.providers |= other.providers


def balances(books: Books, day: date) -> dict[int, int] | None:
    """Return the balances at the end of a day; None before the first tick."""
    end = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
    known = [one for one in books.ticks if one.boundary <= end]
    if not known:
        return None
    held: dict[int, int | None] = {}
    for tick in known:
        held.update(tick.changed)
    return {number: one for number, one in held.items() if one is not None}


def price(books: Books, symbol: str, currency: str, day: date) -> Decimal | None:
    """Return the newest price that is not after a day."""
    fit = [
        (when, text)
        for (of, code, when), text in books.prices.items()
        if (of, code) == (symbol, currency) and when <= day
    ]
    return Decimal(max(fit)[1]) if fit else None


def value(books: Books, provider: int, balance: int, currency: str, day: date) -> Decimal | None:
    """Return what a balance is worth; None without a symbol or a price."""
    if provider not in books.symbols:
        return None
    symbol, scale = books.symbols[provider]
    found = price(books, symbol, currency, day)
    if found is None:
        return None
    return EXACT.multiply(EXACT.scaleb(Decimal(balance), -scale), found)


def earned(books: Books, provider: int, currency: str, first: date, last: date) -> Earned | None:
    """Return what a provider earned; None if it has no value at the start."""
    held = [balances(books, day) or {} for day in days(first, last)]
    amounts = [one.get(provider, 0) for one in held]
    start = value(books, provider, amounts[0], currency, first)
    end = value(books, provider, amounts[-1], currency, last)
    if start is None or end is None:
        return None
    found = Earned(start, end, providers={provider})
    for number, day in enumerate(days(first, last)):
        if not number:
            continue
        flow = value(books, provider, amounts[number] - amounts[number - 1], currency, day)
        assert flow is not None
        found.flows = EXACT.add(found.flows, flow)
        if flow > 0:
            found.positive = EXACT.add(found.positive, flow)
    return found


def days(first: date, last: date) -> list[date]:
    """Return all days of a time, both ends included."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def there(books: Books, first: date, last: date) -> set[int]:
    """Return the providers that were there at the end of any of these days."""
    return {number for day in days(first, last) for number in balances(books, day) or {}}


def plain(found: Decimal | None) -> str | None:
    """Return a decimal as it leaves us: no exponent, no zeros at its end."""
    if found is None:
        return None
    text = f"{found:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text in ("-0", "") else text


def sums(parts: Iterable[tuple[str, Decimal]]) -> dict[str, tuple[Decimal, int]]:
    """Return the sum and the number of parts by currency."""
    found: dict[str, tuple[Decimal, int]] = {}
    for currency, part in parts:
        so_far, number = found.get(currency, (Decimal(), 0))
        found[currency] = (EXACT.add(so_far, part), number + 1)
    return found
