"""What a message is: a transaction, or unfit and why. Pure: no clock, socket or randomness.

Each body is decoded alone: bodies joined with commas let three unfit ones make three valid
transactions.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeVar

import msgspec

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
INT64_DIGITS = 19
IDENTITY_BYTES_MAX = 255
TWO_KEYS_QUOTES = 4

Reason = Literal[
    "not_utf8", "not_json", "not_object", "missing_field", "wrong_type", "out_of_range",
    "duplicate_key", "too_large", "bad_identity", "unknown_provider", "id_conflict",
    "refused_by_database",
]  # fmt: skip

T = TypeVar("T")


class Unfit(Exception):
    """The message cannot become a row, whoever tries: a dead letter with this reason."""

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


class Properties(Protocol):
    """The AMQP properties that decide anything; `properties.py` keeps all of them."""

    message_id: Any
    headers: Any


class Received(NamedTuple):
    """A delivery as it came; `spare_identity` is used where the message carries none."""

    tag: int
    redelivered: bool
    properties: Properties
    body: bytes
    spare_identity: str


class Transaction(NamedTuple):
    """A message that may become a row."""

    message: Received
    identity: str
    provider_id: int
    value: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that does not become a row; `waiting` ones do when their provider appears."""

    message: Received
    identity: str
    reason: Reason
    error: str
    provider_id: int | None = None
    value: int | None = None

    @property
    def state(self) -> Literal["open", "waiting"]:
        """`waiting` for a provider, or `open`: for a person to look at."""
        return "waiting" if self.reason == "unknown_provider" else "open"


@dataclass(slots=True)
class Sorted:
    """A batch before the database has seen it. Identities of `transactions` are distinct."""

    transactions: list[Transaction] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    repeated: int = 0


class Body(NamedTuple):
    """What a body says; `fields` only where the body had to be read field by field."""

    provider_id: int
    value: int
    fields: Mapping[str, Any] | None


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
        raise Unfit("too_large", f"{len(body)} bytes; the limit is {limits.body_bytes_max}")
    if body.count(b'"') == TWO_KEYS_QUOTES:
        try:
            fast = _decode_fast(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass
        else:
            return _in_range(Body(fast.id, fast.value, None), limits)
    return _in_range(_decode_slow(body), limits)


def identify(
    source: str, properties: Properties, fields: Callable[[], Mapping[str, Any]], spare: str
) -> str:
    """Return the message's identity as `INGEST_MESSAGE_ID` names it, or `spare` if it has none.

    `source` is `property`, `header:NAME` or `field:NAME`. Raises `Unfit` (`bad_identity`).
    """
    kind, _, name = source.partition(":")
    if kind == "header":
        found = (properties.headers or {}).get(name)
    elif kind == "field":
        found = fields().get(name)
    else:
        found = properties.message_id
    if found is None or found in ("", b""):
        return spare
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise Unfit("bad_identity", f"the identity is {_a(found)}, not text in UTF-8")
    _check_identity(found)
    return found


def sort(batch: Sequence[Received], limits: Limits, identity_source: str) -> Sorted:
    """Split a batch into transactions and dead letters, and count repetitions within it."""
    result = Sorted()
    first: dict[str, Transaction] = {}
    for message in batch:
        identity = message.spare_identity
        try:
            provider_id, value, fields = decode(message.body, limits)
            identity = identify(
                identity_source,
                message.properties,
                partial(_fields, fields, message.body),
                identity,
            )
        except Unfit as unfit:
            result.dead.append(_unfit(message, unfit, identity_source))
            continue
        transaction = Transaction(message, identity, provider_id, value)
        earlier = first.setdefault(identity, transaction)
        if earlier is transaction:
            result.transactions.append(transaction)
        elif earlier[2:] == transaction[2:]:
            result.repeated += 1
        else:
            result.dead.append(conflict(transaction))
    return result


def conflict(transaction: Transaction) -> DeadLetter:
    """Return the dead letter for an identity that was used before for something else."""
    error = "a transaction with this identity and other content exists"
    return DeadLetter(transaction.message, transaction.identity, "id_conflict", error)


def unknown_provider(transaction: Transaction) -> DeadLetter:
    """Return the dead letter that waits for its provider."""
    return DeadLetter(
        transaction.message,
        transaction.identity,
        "unknown_provider",
        f"there is no provider {transaction.provider_id} yet",
        transaction.provider_id,
        transaction.value,
    )


def refused(transaction: Transaction, error: str) -> DeadLetter:
    """Return the dead letter for a row that the database would not take."""
    return DeadLetter(transaction.message, transaction.identity, "refused_by_database", error)


def bisect(items: Sequence[T], attempt: Callable[[Sequence[T]], str | None]) -> list[tuple[T, str]]:
    """Return the items to blame, each with its error; all others were attempted with success.

    `attempt` takes effect and returns None, or has no effect and returns an error. A guilty item
    among n costs about 2·log2(n) attempts.
    """
    if not items:
        return []
    error = attempt(items)
    if error is None:
        return []
    if len(items) == 1:
        return [(items[0], error)]
    middle = len(items) // 2
    return bisect(items[:middle], attempt) + bisect(items[middle:], attempt)


def tally(dead: Iterable[DeadLetter]) -> Counter[str]:
    """Count dead letters by reason."""
    return Counter(letter.reason for letter in dead)


def _unfit(message: Received, unfit: Unfit, identity_source: str) -> DeadLetter:
    # An unfit body's own identity still tells its redelivery from another message.
    identity = message.spare_identity
    if unfit.reason != "bad_identity":
        # A body that is too large is not looked into.
        fields = dict if unfit.reason == "too_large" else partial(_object, message.body)
        with contextlib.suppress(Unfit):
            identity = identify(identity_source, message.properties, fields, identity)
    return DeadLetter(message, identity, unfit.reason, unfit.error)


def _in_range(body: Body, limits: Limits) -> Body:
    if not limits.provider_id_min <= body.provider_id <= limits.provider_id_max:
        raise Unfit("out_of_range", "id is beyond the range of its column")
    if not limits.value_min <= body.value <= limits.value_max:
        raise Unfit("out_of_range", "value is beyond the range of its column")
    return body


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


def _decode_slow(body: bytes) -> Body:
    fields = _object(body)
    for name in ("id", "value"):
        if name not in fields:
            raise Unfit("missing_field", f"the field {name} is missing")
    return Body(_integer(fields, "id"), _integer(fields, "value"), fields)


def _fields(fields: Mapping[str, Any] | None, body: bytes) -> Mapping[str, Any]:
    return _object(body) if fields is None else fields


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Unfit("not_utf8", f"byte {error.start} is not UTF-8") from error
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
        raise Unfit("not_json", f"not JSON: {type(error).__name__}") from error
    if repeated:
        raise Unfit("duplicate_key", "a key appears twice")
    if not isinstance(found, dict):
        raise Unfit("not_object", f"JSON, but {_a(found)}")
    return found


def _integer(fields: Mapping[str, Any], name: str) -> int:
    found = fields[name]
    if isinstance(found, bool) or not isinstance(found, int):
        raise Unfit("wrong_type", f"{name} is {_a(found)}, not an integer")
    return found


def _parse_int(digits: str) -> int:
    return int(digits) if len(digits.lstrip("-")) <= INT64_DIGITS else _Huge(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


def _check_identity(identity: str) -> None:
    try:
        size = len(identity.encode())
    except UnicodeEncodeError as error:
        raise Unfit("bad_identity", "the identity is not UTF-8") from error
    if "\x00" in identity:
        raise Unfit("bad_identity", "the identity holds a NUL character")
    if size > IDENTITY_BYTES_MAX:
        raise Unfit("bad_identity", f"the identity has {size} bytes, above {IDENTITY_BYTES_MAX}")


def _a(found: object) -> str:
    if found is None:
        return "null"
    names = {bool: "a boolean", float: "a number with a fraction or exponent", str: "a string"}
    names |= {list: "an array", dict: "an object", int: "a number", bytes: "bytes"}
    return names.get(type(found), f"a {type(found).__name__}")
