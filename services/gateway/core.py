"""What a request's body says: its items, or what is wrong with each of them.

Each item is validated by ingest's own rules, from its own bytes. One that is unfit refuses all.
Pure: no clock, socket or randomness.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from services.gateway import csv_rows
from services.gateway.problems import Problem, Reason
from shared import json_object
from shared.transaction_body import Limits, decode
from shared.transaction_identity import check_identity
from shared.unfit import Unfit

ERRORS_MAX = 100
"""Unfit items that are named in an answer; how many there are is always said."""
COMMAS_PER_ITEM_MAX = 32
"""On average: of an array of nothing but numbers, 4 MiB would become 130 MB in memory."""
DIGITS = re.compile(r"-?[0-9]+", re.ASCII)


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """A transaction as the tracker gets it; the amount in minor units."""

    id: int
    value: int
    message_id: str | None = None


class ItemError(NamedTuple):
    """What is wrong with one item, counted from 0."""

    item: int
    reason: str
    error: str


Reader = Callable[[bytes, Limits, int], Sequence[Item]]
"""Returns the items of a body: at most so many, in their order. Raises `Problem`."""


class Request(msgspec.Struct, frozen=True):
    """The message to the tracker: the whole request."""

    request: str
    by: str
    items: Sequence[Item]


def encode(request: str, by: str, items: Sequence[Item]) -> bytes:
    """Return the body of that message."""
    return msgspec.json.encode(Request(request, by, items))


def read_json(body: bytes, limits: Limits, items_max: int) -> Sequence[Item]:
    """Read one object, or an array of them. Raises `Problem`."""
    text = body.strip(b" \t\r\n")
    if text[:1] == b"[":
        return _all_fit(_elements(text, items_max), limits, items_max)
    try:
        return [_item(text, limits)]
    except Unfit as unfit:
        if unfit.reason == "not_utf8" or unfit.reason == "not_json":  # noqa: PLR1714 - for mypy
            raise Problem(400, unfit.reason, unfit.error) from unfit
        raise _refused([ItemError(0, unfit.reason, unfit.error)], 1) from unfit


def read_ndjson(body: bytes, limits: Limits, items_max: int) -> Sequence[Item]:
    """Read a JSON object from each line that is not blank. Raises `Problem`."""
    return _all_fit(_lines(body), limits, items_max)


def read_csv(body: bytes, limits: Limits, items_max: int) -> Sequence[Item]:
    """Read rows of `id,value[,message_id]`. Raises `Problem`."""
    return _all_fit(csv_rows.objects(body), limits, items_max)


def check_identities(key: str, items: Sequence[Item]) -> None:
    """Raise `Problem` if two items have one identity: an own one, or that of an item's place."""
    if all(one.message_id is None for one in items):
        return
    errors: list[ItemError] = []
    seen: dict[str, int] = {}
    for number, one in enumerate(items):
        identity = one.message_id or f"{key}:{number}"
        first = seen.setdefault(identity, number)
        if first != number:
            said = f"item {first} has the same identity"
            errors.append(ItemError(number, "duplicate_identity", said))
    if errors:
        raise _refused(errors[:ERRORS_MAX], len(errors))


READERS: dict[str, Reader] = {
    "application/json": read_json,
    "application/x-ndjson": read_ndjson,
    "text/csv": read_csv,
}
"""By media type."""


def _elements(body: bytes, items_max: int) -> Iterable[bytes]:
    if body.count(b",") > COMMAS_PER_ITEM_MAX * items_max:
        raise _too_many(items_max)
    try:
        return map(bytes, _decode_array(body))
    except msgspec.DecodeError as error:  # it says what is wrong at which byte
        raise Problem(400, "not_json", f"not JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise Problem(400, "not_json", f"not JSON: {type(error).__name__}") from error


_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def _lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines, not all at once: there may be millions of blank ones."""
    start = 0
    while start < len(body):
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        if line := body[start:end].strip(b" \t\r"):
            yield line
        start = end + 1


def _all_fit(found: Iterable[bytes | Unfit], limits: Limits, items_max: int) -> Sequence[Item]:
    """Return all items. Raises `Problem`: too many, none, or unfit ones."""
    items: list[Item] = []
    errors: list[ItemError] = []
    unfit_count = 0
    for number, one in enumerate(found):
        if number >= items_max:
            raise _too_many(items_max)
        try:
            item = _item(one, limits)
            items.append(item)
        except Unfit as unfit:
            unfit_count += 1
            if len(errors) < ERRORS_MAX:
                errors.append(ItemError(number, unfit.reason, unfit.error))
    if unfit_count:
        raise _refused(errors, unfit_count)
    if not items:
        raise Problem(422, "no_items", "there is no transaction in it")
    return items


def _item(found: bytes | Unfit, limits: Limits) -> Item:
    """Return one item. Raises `Unfit`."""
    if isinstance(found, Unfit):
        raise found
    try:
        provider_id, value, fields = decode(found, limits)
    except Unfit as unfit:
        if unfit.reason != "wrong_type":
            raise
        fields = json_object.read(found)
        if not isinstance(fields["value"], str) or not isinstance(fields["id"], int):
            raise
        provider_id, value, _ = decode(_with_number(fields), limits)
    return Item(provider_id, value, _identity(fields) if fields else None)


def _with_number(fields: Any) -> bytes:  # noqa: ANN401 - what JSON has
    """Return id and value of an item whose value is a string. Raises `Unfit` unless that is digits.

    JSON numbers lose digits above 2^53 in too many clients.
    """
    value = fields["value"]
    if not DIGITS.fullmatch(value):
        raise Unfit("wrong_type", "value is a string that is not a whole number")
    if len(value) > csv_rows.DIGITS_MAX:
        raise Unfit("out_of_range", "value is beyond the range of its column")
    return json.dumps({"id": fields["id"], "value": int(value)}).encode()


def _identity(fields: Any) -> str | None:  # noqa: ANN401 - what JSON has
    found = fields.get("message_id")
    if found is None or found == "":
        return None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise Unfit("bad_identity", f"message_id is {json_object.a_kind(found)}, not a string")
    check_identity(str(found))
    return str(found)


def _refused(errors: Sequence[ItemError], count: int) -> Problem:
    said = [one._asdict() for one in errors]
    detail = f"{count} {'item is' if count == 1 else 'items are'} unfit: nothing was accepted"
    all_anothers = count == len(errors) and {one.reason for one in errors} == {"wrong_shard"}
    reason: Reason = "wrong_shard" if all_anothers else "unfit_items"
    return Problem(422, reason, detail, errors=said, errors_total=count)


def _too_many(items_max: int) -> Problem:
    return Problem(413, "too_many_items", f"more than {items_max} items (GATEWAY_ITEMS_MAX)")
