"""The body of a transaction's message: a provider and an amount, or the reason why it is neither.

Each body is decoded alone: of bodies joined with commas, three unfit ones could make three valid
transactions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from shared import json_object
from shared.amqp.delivery_parser import BODY_KEPT_MAX, CutBody
from shared.json_object import a_kind
from shared.shard import Shard
from shared.unfit import Unfit

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
TWO_KEYS_QUOTES = 4


@dataclass(frozen=True, slots=True)
class Limits:
    """What fits: body size, the ranges of the columns that ids and values go into, and whose id.

    Without a `shard` every id is ours.
    """

    body_bytes_max: int
    provider_id_min: int = INT64_MIN
    provider_id_max: int = INT64_MAX
    value_min: int = INT64_MIN
    value_max: int = INT64_MAX
    shard: Shard | None = None


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
    fields = json_object.read(body)
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
    if limits.shard is not None and not limits.shard.has(provider_id):
        raise Unfit("wrong_shard", limits.shard.refusal(provider_id))


def _too_large(body: bytes, limits: Limits) -> str:
    limit = f"the limit is {limits.body_bytes_max}"
    if not isinstance(body, CutBody):
        return f"{len(body)} bytes; {limit}"
    kept = f"only the first {BODY_KEPT_MAX} are kept (SHA-256 of all: {body.sha256})"
    return f"{body.size} bytes; {limit}; {kept}"
