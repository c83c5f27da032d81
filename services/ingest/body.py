"""The body of a message: a provider and an amount, or the reason why it is neither.

Each body is decoded alone: of bodies joined with commas, three unfit ones could make three valid
transactions.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, Self

import msgspec

from shared.amqp.delivery_parser import BODY_KEPT_MAX, CutBody

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
INT64_DIGITS = 19
TWO_KEYS_QUOTES = 4
DEPTH_MAX = 500
"""Arrays and objects within each other. Python's own limit depends on how deep its caller is: a
body could be refused by ingest and accepted when it is replayed."""

# A string without its end reaches to the end: to search for it again from each quote takes long.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}

AMQP_1_0_SECTIONS = {b"\0Sv": "sequence", b"\0Sw": "value"}
"""How bodies begin that an AMQP 1.0 client sent as text or as a list (AMQP 1.0 §3.2.7, 3.2.8)."""

Reason = Literal[
    "not_utf8", "not_json", "not_object", "missing_field", "wrong_type", "out_of_range",
    "duplicate_key", "too_large", "bad_identity", "unknown_provider", "id_conflict",
    "refused_by_database",
]  # fmt: skip


class Unfit(Exception):
    """The message cannot become a row: it becomes a dead letter with this reason."""

    def __init__(self, reason: Reason, error: str) -> None:
        """`error` says in words what is wrong, without quoting the body."""
        super().__init__(error)
        self.reason: Reason = reason
        self.error = error


@dataclass(frozen=True, slots=True)
class Limits:
    """What fits: body size, and the ranges of the columns that ids and values go into."""

    body_bytes_max: int
    provider_id_min: int = INT64_MIN
    provider_id_max: int = INT64_MAX
    value_min: int = INT64_MIN
    value_max: int = INT64_MAX


Body = tuple[int, int, Mapping[str, Any] | None]
"""Provider id, value, and the fields where the body had to be read field by field.

A plain tuple: one with names would take as long as all the rest of the decoding.
"""


class _Fast(msgspec.Struct):
    id: int
    value: int


_decode_fast = msgspec.json.Decoder(_Fast).decode


def decode(body: bytes, limits: Limits) -> Body:
    """Return provider id and value (minor units). Raises `Unfit`.

    A body with four quotation marks that decodes has exactly the two keys, each once, and is
    UTF-8 throughout. All others take the slow path, which can say what is wrong.
    """
    if len(body) > limits.body_bytes_max:
        raise Unfit("too_large", _too_large(body, limits))
    if body.count(b'"') == TWO_KEYS_QUOTES:
        try:
            fast = _decode_fast(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        else:
            _check_range(fast.id, fast.value, limits)
            return fast.id, fast.value, None
    provider_id, value, fields = _decode_slow(body)
    _check_range(provider_id, value, limits)
    return provider_id, value, fields


def _decode_slow(body: bytes) -> Body:
    fields = read_object(body)
    for name in ("id", "value"):
        if name not in fields:
            raise Unfit("missing_field", f"the field {name} is missing")
    return _integer(fields, "id"), _integer(fields, "value"), fields


def _integer(fields: Mapping[str, Any], name: str) -> int:
    found = fields[name]
    if isinstance(found, bool) or not isinstance(found, int):
        raise Unfit("wrong_type", f"{name} is {a_kind(found)}, not an integer")
    return found


def _check_range(provider_id: int, value: int, limits: Limits) -> None:
    if not limits.provider_id_min <= provider_id <= limits.provider_id_max:
        raise Unfit("out_of_range", "id is beyond the range of its column")
    if not limits.value_min <= value <= limits.value_max:
        raise Unfit("out_of_range", "value is beyond the range of its column")


def _too_large(body: bytes, limits: Limits) -> str:
    size = body.size if isinstance(body, CutBody) else len(body)
    said = f"{size} bytes; the limit is {limits.body_bytes_max}"
    if isinstance(body, CutBody):
        said += f"; only the first {BODY_KEPT_MAX} are kept (SHA-256 of all: {body.sha256})"
    return said


def read_object(body: bytes) -> Mapping[str, Any]:
    """Return a body's fields. Raises `Unfit` unless it is a JSON object without repetitions."""
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        said = f"byte {error.start} is not UTF-8{_section(body)}"
        raise Unfit("not_utf8", said) from error
    if _too_deep(text):
        raise Unfit("not_json", f"nested more than {DEPTH_MAX} deep")
    repeated: list[int] = []

    def pairs(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(entries)
        if len(fields) != len(entries):
            repeated.append(len(entries))  # said at the end: the rest may not even be JSON
        return fields

    try:
        found = json.loads(
            text, object_pairs_hook=pairs, parse_int=_parse_int, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        said = f"not JSON: {type(error).__name__}{_section(body)}"
        raise Unfit("not_json", said) from error
    if repeated:
        raise Unfit("duplicate_key", "a key appears twice")
    if not isinstance(found, dict):
        raise Unfit("not_object", f"JSON, but {a_kind(found)}")
    return found


def _section(body: bytes) -> str:
    """Return a hint if RabbitMQ made the body of an AMQP 1.0 section that is not plain bytes."""
    kind = AMQP_1_0_SECTIONS.get(body[:3])
    return f": an AMQP 1.0 {kind} section, where the JSON is to be a data section" if kind else ""


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return False
    found = (match[0] for match in _STRING_OR_BRACKET.finditer(text))
    depths = accumulate(_STEPS.get(one, 0) for one in found)
    return any(depth > DEPTH_MAX for depth in depths)


def _parse_int(digits: str) -> int:
    return int(digits) if len(digits.lstrip("-")) <= INT64_DIGITS else _Huge(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


class _Huge(int):
    """An integer of more digits than any column holds: out of every range, and still itself.

    Python would refuse to read thousands of digits.
    """

    digits: str

    def __new__(cls, digits: str) -> Self:
        found = super().__new__(cls, 2 ** (INT64_DIGITS * 4))
        found.digits = digits
        return found

    def __str__(self) -> str:
        return self.digits


def a_kind(found: object) -> str:
    """Return what kind of JSON value it is, for an error that does not quote it."""
    if found is None:
        return "null"
    names = {bool: "a boolean", float: "a number with a fraction or exponent", str: "a string"}
    names |= {list: "an array", dict: "an object", int: "a number", bytes: "bytes"}
    return names.get(type(found), f"a {type(found).__name__}")
