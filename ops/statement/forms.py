"""A statement for people, as CSV and as one JSON document, piece by piece: it may be very long."""

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import msgspec

from ops.wording import count, moment, visible
from shared.ledger.statement import NOT_ITEMISED, End, Movement, Statement

COLUMNS = [one.name for one in fields(Movement)]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula, at the beginning of a text."""


def as_text(found: Statement) -> Iterator[str]:
    """Yield lines for people."""
    yield _end("opening balance", found.opening)
    movements, rest = 0, 0
    for one in found.movements:
        what = one.operation.replace("_", " ")
        whose = f"row {one.transaction}" if one.transaction is not None else ""
        name = visible(one.message_id) if one.message_id else ""
        tick = f"tick {one.epoch}" if one.epoch is not None else ""
        details = "  ".join(filter(None, (what, tick, whose, name, visible(one.reason or ""))))
        yield f"{moment(one.at):<24}  {int(one.amount):>+20}  {one.balance:>20}  {details}\n"
        movements += one.operation != NOT_ITEMISED
        rest += int(one.amount) if one.operation == NOT_ITEMISED else 0
    yield _end("closing balance", found.closing)
    total = int(found.closing.balance) - int(found.opening.balance)
    yield f"{count(movements, 'movement')}, {total:+} in all"
    yield f", of which {rest:+} not itemised\n" if rest else "\n"


def _end(what: str, end: End) -> str:
    return f"{moment(end.boundary):<24}  {'':>20}  {end.balance:>20}  {what}, tick {end.epoch}\n"


def as_csv(found: Statement) -> Iterator[str]:
    """Yield CSV (RFC 4180): a header, the opening balance, each movement, the closing balance."""
    yield _line(COLUMNS)
    yield _csv_end("opening", found.opening)
    for one in found.movements:
        line = [getattr(one, name) for name in COLUMNS]
        yield _line(_cell(name, value) for name, value in zip(COLUMNS, line, strict=True))
    yield _csv_end("closing", found.closing)


def _csv_end(operation: str, end: End) -> str:
    known = {
        "at": moment(end.boundary),
        "operation": operation,
        "balance": end.balance,
        "epoch": end.epoch,
        "boundary": moment(end.boundary),
    }
    return _line(known.get(name, "") for name in COLUMNS)


def _cell(name: str, value: Any) -> str:  # noqa: ANN401 - of any column
    if value is None:
        return ""
    if name in ("at", "boundary"):
        return moment(value)
    # A producer chose this text, and a spreadsheet must not run it.
    if name in ("message_id", "reason") and value.startswith(FORMULA):
        return f"'{value}"
    return str(value)


def _line(cells: Any) -> str:  # noqa: ANN401 - anything that csv takes
    made = io.StringIO()
    csv.writer(made).writerow(cells)
    return made.getvalue()


def as_json(found: Statement) -> Iterator[str]:
    """Yield one JSON document: provider_id, opening, movements, closing, not_itemised."""
    yield f'{{"provider_id":{found.provider_id},"opening":{_json(found.opening)},"movements":['
    rest, separator = 0, ""
    for one in found.movements:
        yield separator + _json(one)
        separator = ","
        rest += int(one.amount) if one.operation == NOT_ITEMISED else 0
    yield f'],"closing":{_json(found.closing)},"not_itemised":"{rest}"}}\n'


def _json(one: End | Movement) -> str:
    return msgspec.json.encode(one).decode()
