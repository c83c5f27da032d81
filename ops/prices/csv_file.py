"""A CSV file of prices, read to its end before any of it is written. Pure.

    symbol,currency,day,price
    EUR,USD,2026-11-28,1.0842

Nothing is guessed: a line that is not understood is `Invalid`, and then none of the file counts.
Columns may come in any order; `source_id` and `version` are optional.
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from shared import change_record
from shared.errors import Refusal
from shared.price import Price, read
from shared.price_store import Named
from shared.unfit import Unfit

NEEDED = ("symbol", "currency", "day", "price")
OPTIONAL = ("source_id", "version")
INTEGER = re.compile(r"-?[0-9]{1,19}", re.ASCII)
LINES_MAX = 1_000_000
INVALID_KEPT_MAX = 100


@dataclass(frozen=True, slots=True)
class Invalid:
    """A line, counted from 1, and what is wrong with it."""

    line: int
    error: str


@dataclass(slots=True)
class File:
    """What a file holds: prices with their lines, or the first of the lines that are not valid."""

    prices: list[Named] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    invalid: list[Invalid] = field(default_factory=list)
    invalid_lines: int = 0

    def reject(self, line: int, error: str) -> None:
        """Note what is wrong with a line."""
        self.invalid_lines += 1
        if len(self.invalid) < INVALID_KEPT_MAX:
            self.invalid.append(Invalid(line, error))


def parse(lines: Iterable[str], source: str, progress: Callable[[int], object]) -> File:
    """Read all lines. Raises `Refusal` where it is not known what they mean."""
    rows = csv.reader(lines, strict=True)
    found, days, names = File(), dict[Hashable, int](), dict[Hashable, int]()
    try:
        places = _header(next(rows, []))
        for row in rows:
            progress(1)
            if not row:
                continue
            if len(found.prices) + found.invalid_lines >= LINES_MAX:
                raise Refusal(f"more than {LINES_MAX:,} lines: split the file")
            line = rows.line_num
            try:
                named = _row(row, places, source)
                price = named.price
                _once(
                    days, (price.symbol, price.currency, price.day), line, "symbol, currency, day"
                )
                _once(names, named.source_id, line, "source_id")
            except Unfit as unfit:
                found.reject(line, unfit.error)
            else:
                found.prices.append(named)
                found.lines.append(line)
    except csv.Error as error:
        said = f"line {rows.line_num}: not CSV (a quote that is not closed?): {error}"
        raise Refusal(said) from error
    except UnicodeDecodeError as error:
        raise Refusal(f"after line {rows.line_num}: not UTF-8") from error
    return found


def _header(names: list[str]) -> Mapping[str, int]:
    """Return where each column is, and the number of all as `""`."""
    for name, times in Counter(names).items():
        if times > 1:
            raise Refusal(f"line 1: the column {name!r} is there {times} times")
        if name not in (*NEEDED, *OPTIONAL):
            known = ", ".join((*NEEDED, *OPTIONAL))
            raise Refusal(f"line 1: the column {name!r} is not known: there are {known}")
    if missing := [name for name in NEEDED if name not in names]:
        raise Refusal(f"line 1: the header does not name the column {' and '.join(missing)}")
    return {name: place for place, name in enumerate(names)} | {"": len(names)}


def _row(row: list[str], places: Mapping[str, int], source: str) -> Named:
    if len(row) != places[""]:
        said = f"{len(row)} columns under a header of {places['']}"
        raise Unfit("invalid_value", f"{said} (a decimal comma, or a comma without quotes?)")
    fields = {name: row[place] for name, place in places.items() if name}
    price = read(fields)
    return Named(price, source, _source_id(fields, price), _version(fields))


def _source_id(fields: Mapping[str, str], price: Price) -> str:
    """Return what a price is called where it comes from: by default, what it is the price of."""
    if fields.get("source_id"):
        return change_record.name(fields, "source_id")
    return f"{price.symbol}/{price.currency}/{price.day}"


def _version(fields: Mapping[str, str]) -> int | None:
    text = fields.get("version")
    if not text:
        return None
    if not INTEGER.fullmatch(text):
        raise Unfit("invalid_value", "version must be an integer")
    return change_record.integer(int(text), "version")


def _once(known: dict[Hashable, int], key: Hashable, line: int, what: str) -> None:
    """Raise `Unfit` for what a line before has, too: which of them counts nobody can say."""
    before = known.setdefault(key, line)
    if before != line:
        raise Unfit("invalid_value", f"the same {what} as in line {before}")
