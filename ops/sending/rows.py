"""What a person writes as transactions: arguments, JSON lines or CSV, read strictly. Pure.

Nothing is guessed. A line that is not understood is `Invalid`, and the others stand. Where it is
not known what the lines mean (the header, a quote that is not closed) the file is `Unreadable`.
"""

import base64
import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import count
from typing import Any, BinaryIO, Literal, NamedTuple

import msgspec

from shared import json_object
from shared.json_object import a_kind
from shared.unfit import Unfit

Format = Literal["auto", "jsonl", "csv"]

NEEDED = ("id", "value")
IDENTITY = "message_id"
KNOWN = (*NEEDED, IDENTITY)
INTEGER = re.compile(r"-?[0-9]+")
BOM, BOMS_UTF16 = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
HEAD_BYTES = 4096
LINE_BYTES_MAX = 2**25
"""More than the largest body that ingest can be set to take has in base64."""
IGNORE = "--ignore-columns '{}' if it is meant to be left out"


class Invalid(NamedTuple):
    """What is not sent, and why; `line` counts from 1."""

    line: int
    why: str
    file: str = ""


class Draft(NamedTuple):
    """A body to be sent, where it stood, and the identity that came with it, if any."""

    line: int
    body: bytes
    message_id: str = ""
    queue: str = ""
    """Of an exported dead letter: where it came from."""


class Unreadable(Exception):
    """A file of which nothing may be sent: what its lines mean is not known."""

    def __init__(self, line: int, why: str) -> None:
        """`line` counts from 1."""
        super().__init__(f"line {line}: {why}")


def from_arguments(
    texts: Iterable[str], ignored: Collection[str] = ()
) -> Iterator[Draft | Invalid]:
    """Read `PROVIDER=VALUE`, or a whole body as JSON."""
    for line, text in enumerate(texts, start=1):
        provider, equals, value = text.partition("=")
        if text.startswith("{"):
            yield _line(line, text.encode(errors="surrogateescape"), {*KNOWN, *ignored})
        elif equals:
            yield _pair(line, provider, value, "")
        else:
            yield Invalid(line, f"{text!r} is neither PROVIDER=VALUE nor a JSON object")


def read(
    file: BinaryIO, kind: Format = "auto", ignored: Collection[str] = ()
) -> Iterator[Draft | Invalid]:
    """Read a file from its beginning: JSON lines (or exported dead letters), or CSV with a header.

    `auto` takes what begins with a brace for JSON lines. Fields or columns that are not known are
    an error unless they are `ignored`. Raises `Unreadable`.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise Unreadable(1, "the file is empty")
    if head.startswith(BOMS_UTF16):
        raise Unreadable(1, "this is UTF-16: save it as UTF-8")
    head, start = head.removeprefix(BOM), len(BOM) if head.startswith(BOM) else 0
    file.seek(start)
    if kind == "auto" and head.lstrip().startswith(b"["):
        raise Unreadable(1, "a JSON array: write one object a line (jq -c '.[]')")
    if kind == "jsonl" or (kind == "auto" and head.lstrip().startswith(b"{")):
        return from_lines(_lines(file), ignored)
    return from_csv(_lines(file), ignored)


def from_lines(lines: Iterable[bytes], ignored: Collection[str] = ()) -> Iterator[Draft | Invalid]:
    """Read JSON lines: bodies as they are, or what `ops dead-letters export` wrote."""
    for line, text in enumerate(lines, start=1):
        body = text.strip()
        if body:
            yield _line(line, body, {*KNOWN, *ignored})


def from_csv(lines: Iterable[bytes], ignored: Collection[str] = ()) -> Iterator[Draft | Invalid]:
    """Read CSV whose header names `id` and `value`, and perhaps `message_id`: a row is one line."""
    rows = _csv_rows(one.decode(errors="surrogateescape") for one in lines)
    header = _header(next(rows, []), ignored)
    for line, row in enumerate(rows, start=2):
        if row:
            yield _row(line, row, header)


def body_of(provider: int, value: int, /, **more: str) -> bytes:
    """Return a transaction as producers write it, with `more` fields."""
    return msgspec.json.encode({"id": provider, "value": value, **more})


def _lines(file: BinaryIO) -> Iterator[bytes]:
    for number in count(1):
        line = file.readline(LINE_BYTES_MAX + 1)
        if not line:
            return
        if len(line) > LINE_BYTES_MAX:
            raise Unreadable(number, f"longer than {LINE_BYTES_MAX:,} bytes")
        yield line


def _csv_rows(lines: Iterable[str]) -> Iterator[list[str]]:
    rows = csv.reader(lines, strict=True)
    line = 1
    try:
        for row in rows:
            if rows.line_num != line:
                raise Unreadable(line, "a quote is opened that this line does not close")
            yield row
            line += 1
    except csv.Error as error:
        raise Unreadable(line, f"not CSV (a quote that is not closed?): {error}") from error


def _header(names: list[str], ignored: Collection[str]) -> Mapping[str, int]:
    """Return where the columns are that count, and the number of all as `""`."""
    if not any(name in names for name in NEEDED):
        raise Unreadable(1, "neither JSON lines nor a header of CSV that names id and value")
    for name, times in Counter(names).items():
        if times > 1:
            raise Unreadable(1, f"the column {name!r} is there {times} times")
        if name not in KNOWN and name not in ignored:
            raise Unreadable(1, _unknown("column", name))
    places = {name: place for place, name in enumerate(names) if name not in ignored}
    if missing := [name for name in NEEDED if name not in places]:
        raise Unreadable(1, f"the header does not name the column {' and '.join(missing)}")
    return {**places, "": len(names)}


def _row(line: int, row: list[str], header: Mapping[str, int]) -> Draft | Invalid:
    if len(row) != header[""]:
        had = f"{len(row)} columns under a header of {header['']}"
        return Invalid(line, f"{had} (a decimal comma, or a comma without quotes?)")
    identity = row[header[IDENTITY]] if IDENTITY in header else ""
    return _pair(line, row[header["id"]], row[header["value"]], identity)


def _pair(line: int, provider: str, value: str, message_id: str) -> Draft | Invalid:
    for name, text in (("id", provider), ("value", value)):
        if not INTEGER.fullmatch(text):
            return Invalid(line, f"{name} is {text!r}: digits 0 to 9, with a minus or without")
    try:
        return Draft(line, body_of(int(provider), int(value)), message_id)
    except (ValueError, OverflowError):  # Python reads 4,300 digits at most, msgspec writes 64 bits
        return Invalid(line, "out_of_range: a number of more than 64 bits")


def _line(line: int, body: bytes, known: Collection[str]) -> Draft | Invalid:
    try:
        fields = json_object.read(body)
    except Unfit:
        return Draft(line, body)  # the check says what is wrong; unchecked it is sent as it is
    message_id: Any = fields.get(IDENTITY)
    message_id = "" if message_id is None else message_id
    if not isinstance(message_id, str):
        return Invalid(line, f"{IDENTITY} is {a_kind(message_id)}: put it in quotes")
    if "body_base64" in fields:
        return _exported(line, fields, message_id)
    for name in fields:
        if name not in known:
            return Invalid(line, _unknown("field", name))
    return Draft(line, body, message_id)


def _exported(line: int, fields: Mapping[str, Any], message_id: str) -> Draft | Invalid:
    try:
        body = base64.b64decode(fields["body_base64"], validate=True)
        return Draft(line, body, message_id, str(fields.get("queue") or ""))
    except (TypeError, ValueError):
        return Invalid(line, "body_base64 is not base64")


def _unknown(what: str, name: str) -> str:
    plain = re.sub(r"[\W_]+", "", name).lower()
    meant = next((one for one in KNOWN if one.replace("_", "") == plain), None)
    do = f"is {meant} meant? Write it so, or " if meant else ""
    return f"the {what} {name!r} is not known: {do}{IGNORE.format(name)}"
