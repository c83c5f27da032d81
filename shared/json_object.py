"""The body of a message as a JSON object, or the reason why it is none."""

import json
import re
from collections.abc import Mapping
from itertools import accumulate
from types import NoneType
from typing import Any, Self

from shared.unfit import Unfit

INT64_DIGITS = 19
DEPTH_MAX = 500
"""Arrays and objects within each other. Python's own limit depends on how deep its caller is: a
body could be refused by a service and accepted when it is replayed."""

# A string without its end reaches to the end: to search for it again from each quote takes long.
_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)
_STEPS = {"[": 1, "{": 1, "]": -1, "}": -1}

KINDS = {
    NoneType: "null", bool: "a boolean", float: "a number with a fraction or exponent",
    int: "a number", str: "a string", list: "an array", dict: "an object", bytes: "bytes",
}  # fmt: skip
AMQP_1_0_SECTIONS = {b"\0Sv": "sequence", b"\0Sw": "value"}
"""How bodies begin that an AMQP 1.0 client sent as text or as a list (AMQP 1.0 §3.2.7, 3.2.8)."""


def read(body: bytes) -> Mapping[str, Any]:
    """Return a body's fields. Raises `Unfit` unless it is a JSON object without repetitions.

    Integers stay exact, however many digits they have.
    """
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
        said = f"not JSON: {_fault(error)}{_section(body)}"
        raise Unfit("not_json", said) from error
    if repeated:
        raise Unfit("duplicate_key", "a key appears twice")
    if not isinstance(found, dict):
        raise Unfit("not_object", f"JSON, but {a_kind(found)}")
    return found


def _fault(error: ValueError | RecursionError) -> str:
    """Return what is wrong and where, without a word of the body, which logs must not show."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at character {error.pos}"
    return type(error).__name__


def _section(body: bytes) -> str:
    """Return a hint if RabbitMQ made the body of an AMQP 1.0 section that is not plain bytes."""
    kind = AMQP_1_0_SECTIONS.get(body[:3])
    return f": an AMQP 1.0 {kind} section, where the JSON must be a data section" if kind else ""


def _too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= DEPTH_MAX:
        return False
    found = (match[0] for match in _STRING_OR_BRACKET.finditer(text))
    depths = accumulate(_STEPS.get(one, 0) for one in found)
    return any(depth > DEPTH_MAX for depth in depths)


def _parse_int(digits: str) -> int:
    return int(digits) if len(digits.lstrip("-")) <= INT64_DIGITS else _Huge(digits)


def _refuse_constant(name: str) -> None:
    """NaN and the infinities, which Python's JSON has and JSON has not."""
    raise Unfit("not_json", f"not JSON: it has no {name}")


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
    return KINDS.get(type(found), f"a {type(found).__name__}")
