"""Rows of `text/csv` as the JSON objects that they stand for. Pure."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence

from services.gateway.problems import Problem
from shared.unfit import Unfit

COLUMNS = ("id", "value", "message_id")
NEEDED = 2
"""Of the columns, in this order: the others may be left out."""
DIGITS_MAX = 40
"""More than any column holds; Python would refuse to read thousands of them."""
WHOLE_NUMBER = re.compile(r"-?[0-9]+", re.ASCII)


def objects(body: bytes) -> Iterator[bytes | Unfit]:
    """Yield an object, or why there is none, for each row that is not blank. Raises `Problem`.

    A first row of names says the order of the columns; without one it is that of `COLUMNS`.
    """
    try:
        text = body.decode("utf-8-sig")  # Excel begins with a byte order mark
    except UnicodeDecodeError as error:
        raise Problem(400, "not_utf8", f"byte {error.start} is not UTF-8") from error
    rows = _rows(text)
    first = next(rows, None)
    if first is None:
        return
    columns = _header(first)
    if columns is None:
        columns = COLUMNS
        yield _object(first, columns)
    for row in rows:
        yield _object(row, columns)


def _rows(text: str) -> Iterator[list[str]]:
    """Yield rows that are not blank, cells without the blanks around them. Raises `Problem`."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            cells = [cell.strip(" \t") for cell in row]
            if any(cells):
                yield cells
    except csv.Error as error:
        raise Problem(400, "not_csv", f"line {reader.line_num} is not CSV: {error}") from error


def _header(row: Sequence[str]) -> Sequence[str] | None:
    """Return the names that a first row has; None if it is a transaction. Raises `Problem`."""
    if WHOLE_NUMBER.fullmatch(row[0]):
        return None
    if len(set(row)) == len(row) and set(COLUMNS[:NEEDED]) <= set(row) <= set(COLUMNS):
        return row
    raise Problem(400, "bad_header", "the first row must be id,value or id,value,message_id")


def _object(row: Sequence[str], columns: Sequence[str]) -> bytes | Unfit:
    if len(row) < NEEDED or len(row) > len(columns):
        return Unfit("missing_field", f"the row has {len(row)} columns, not {len(columns)}")
    found = dict(zip(columns, row, strict=False))
    for name in COLUMNS[:NEEDED]:
        cell = found.get(name, "")
        if not cell:
            return Unfit("missing_field", f"the field {name} is missing")
        if not WHOLE_NUMBER.fullmatch(cell):
            return Unfit("wrong_type", f"{name} is not a whole number")
        if len(cell) > DIGITS_MAX:
            return Unfit("out_of_range", f"{name} is beyond the range of its column")
    numbers = {name: int(found[name]) for name in COLUMNS[:NEEDED]}
    return json.dumps({**numbers, "message_id": found.get("message_id") or None}).encode()
