"""A request by message: transactions under one key, or a question. Pure.

    {"request": "K", "by": "who asks", "items": [{"id": 1, "value": 600}, …]}
    {"request": "K", "by": "who asks", "ask": "balances", …}

What the tracker reads from its queue, and the gateway writes to it. Items are kept as the bytes
that came, and validated one by one by ingest's rules: an unfit one does not make the request unfit.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from shared import json_object, transaction_body
from shared.amqp.delivery_parser import BODY_KEPT_MAX, CutBody
from shared.change_record import name as name_of
from shared.change_record import one_of, present
from shared.json_object import a_kind
from shared.transaction_identity import check_identity
from shared.unfit import Unfit

QUEUE = "requests"
EXCHANGE = "gateway"
"""The direct exchange by which the gateway reaches the queue, under the queue's name."""
ITEMS_MAX = 10_000
REQUEST_BYTES_MAX = 8 * 2**20
KEY = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._~-]{1,200}", re.ASCII)
"""Not . or ..: as the end of a path they mean another one."""
"""What a request's key may be: it stands in URLs, and in front of identities."""
REPLY_QUEUE = re.compile(r"(replies\.|amq\.gen-|amq\.rabbitmq\.reply-to).*", re.DOTALL)
"""Queues that replies may go to: whoever names one must not reach another by our rights."""

Question = Literal["balances", "statement", "valuation"]
QUESTIONS = get_args(Question)
Kind = Literal["transactions", "balances", "statement", "valuation"]

ValidatedItem = tuple[int | None, int | None, str | None, str | None]
"""What an item says: provider, amount, its own `message_id`, and the rest where it is unfit."""

_LIMITS = transaction_body.Limits(BODY_KEPT_MAX)
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_split_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Item(NamedTuple):
    """One item: its bytes, its identity, and what it says; without that no row can come of it."""

    body: bytes
    identity: str
    provider_id: int | None
    value: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was read. `digest` is of what it asks, however that is written."""

    key: str
    by: str
    kind: Kind
    digest: bytes
    items: Sequence[Item] = ()
    question: Mapping[str, Any] = field(default_factory=dict)


def is_key(text: str) -> bool:
    """Say whether a text may be a request's key."""
    return KEY.fullmatch(text) is not None


def is_reply_queue(name: str) -> bool:
    """Say whether a reply may be sent to a queue of this name."""
    return REPLY_QUEUE.fullmatch(name) is not None


def identity(key: str, number: int) -> str:
    """Return the identity of an item without one of its own; items are counted from 0."""
    return f"{key}:{number}"


def digest(items: Iterable[ValidatedItem]) -> bytes:
    """Return the same for two requests that have the same items, however they are written."""
    return _digest(["transactions", *items])


def read(body: bytes) -> Request:
    """Return the request or question in `body`. Raises `Unfit`."""
    if isinstance(body, CutBody) or len(body) > REQUEST_BYTES_MAX:
        raise Unfit("too_large", f"more than {REQUEST_BYTES_MAX} bytes")
    fields, bodies = _fields(body)
    key = _key(fields)
    by = name_of(fields, "by") if fields.get("by") not in (None, "") else ""
    if "ask" in fields:
        return _question(key, by, fields)
    if bodies is None:
        found = present(fields, "items")
        if isinstance(found, list):  # one reader of JSON took it, and the other did not
            raise Unfit("not_json", "items cannot be read")
        raise Unfit("wrong_type", f"items is {a_kind(found)}, not an array")
    if not bodies:
        raise Unfit("invalid_value", "items is empty")
    if len(bodies) > ITEMS_MAX:
        raise Unfit("too_many", f"{len(bodies)} items; {ITEMS_MAX} at most")
    validated = [_validate(number, one) for number, one in enumerate(bodies)]
    items = [
        Item(one, identity(key, number) if own is None else own, provider_id, value)
        for number, (one, (provider_id, value, own, _)) in enumerate(
            zip(bodies, validated, strict=True)
        )
    ]
    if len({one.identity for one in items}) < len(items):
        raise Unfit("duplicate_identity", "two items have the same message_id")
    return Request(key, by, "transactions", digest(validated), items)


def _fields(body: bytes) -> tuple[Mapping[str, Any], list[bytes] | None]:
    """Return the fields, and the bytes of each item, which are not read as JSON together.

    In the fields an array of items is replaced by an empty one: what repeats a key, say, in one
    item is that item's fault.
    """
    head, bodies = body, None
    try:
        items = bytes(_split(body)["items"])
        bodies = [bytes(one) for one in _split_items(items)]
        head = body.replace(items, b"[]", 1)
    except KeyError:
        pass
    except (msgspec.MsgspecError, ValueError, RecursionError):
        bodies = None
    return json_object.read(head), bodies


def _key(fields: Mapping[str, Any]) -> str:
    key = name_of(fields, "request")
    if not is_key(key):
        raise Unfit("invalid_value", "request must be 1 to 200 of A-Z a-z 0-9 . _ ~ -, not . or ..")
    return key


def _question(key: str, by: str, fields: Mapping[str, Any]) -> Request:
    if "items" in fields:
        raise Unfit("invalid_value", "a request has items or a question, not both")
    kind: Any = one_of(fields, "ask", QUESTIONS)
    asked = {name: found for name, found in fields.items() if name not in {"request", "by"}}
    return Request(key, by, kind, _digest([_canonical(asked)]), question=asked)


def _validate(number: int, body: bytes) -> ValidatedItem:
    """Say what an item is by ingest's rules. Raises `Unfit` if it cannot be published at all."""
    try:
        provider_id, value, fields = transaction_body.decode(body, _LIMITS)
        return provider_id, value, _own_identity(number, fields or {}), None
    except Unfit as unfit:
        if unfit.reason == "bad_identity":
            raise
    try:
        found = json.loads(body)
        own = _own_identity(number, found if isinstance(found, dict) else {})
        return None, None, own, _canonical(found)
    except (ValueError, RecursionError):
        return None, None, None, body.hex()


def _own_identity(number: int, fields: Mapping[str, Any]) -> str | None:
    found = fields.get("message_id")
    if found is None or found == "":
        return None
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise Unfit("bad_identity", f"item {number}: message_id is {a_kind(found)}, not text")
    try:
        check_identity(found)
    except Unfit as unfit:
        raise Unfit("bad_identity", f"item {number}: {unfit.error}") from unfit
    return found


def _canonical(found: object) -> str:
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


def _digest(asked: Sequence[object]) -> bytes:
    return hashlib.sha256(msgspec.json.encode(asked)).digest()
