"""What is decided of a request, without clock, socket or randomness."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Any

import msgspec

from shared.ledger.request import Document, ItemError, Outcome, State

REPLY_BYTES_MAX = 65_536
"""A reply's body, at most: a larger one says where its data is instead."""
MOVEMENTS_MAX = BALANCES_MAX = 1000
"""Of a statement, and of all balances: more of them never fit into a reply."""
BYTES_AT_ONCE = 4 * 2**20
"""Requests handled together, unless one alone is larger: meanwhile nobody answers the broker."""


@dataclass(frozen=True, slots=True)
class OpenRequest:
    """An open request, and what became of its items that were open: `undecided` still are.

    Of those, `waiting` wait for their provider. `xids` are the Postgres transactions that stored
    items. `told` says whether its sender was told that only waiting items are left.
    """

    key: str
    open: int
    state: State
    outcome: Outcome
    told: bool
    stored: int
    waiting: int
    errors: tuple[ItemError, ...]
    xids: tuple[str, ...]
    undecided: tuple[int, ...]


class Change(msgspec.Struct, frozen=True):
    """What is written of a request. `waiting`: only waiting items are left, for the first time.

    `open` is how many items were open before: if others are now, somebody else has changed it.
    """

    id: str
    open: int
    state: State
    outcome: Outcome
    xids: tuple[str, ...]
    undecided: tuple[int, ...]
    waiting: bool


def at_once(sizes: Iterable[int]) -> int:
    """Return how many of these requests, by the bytes of each, are handled together: 1 or more."""
    return max(1, len(list(takewhile(lambda size: size <= BYTES_AT_ONCE, accumulate(sizes)))))


def decide(found: OpenRequest, *, keep: bool) -> Change | None:
    """Say what is to be written, None for nothing.

    A request is decided once each item is. Until then what is decided of it is written with `keep`,
    which is seldom, and when only waiting items are left: the row is large.
    """
    news = found.stored + len(found.errors)
    waits = bool(found.undecided) and found.waiting == len(found.undecided)
    first = waits and not found.told
    if found.undecided and not first and not (keep and news):
        return None
    outcome = found.outcome.joined(found.stored, found.errors)
    return Change(
        found.key, found.open, _state(found, outcome), outcome, found.xids, found.undecided, first
    )


def _state(found: OpenRequest, outcome: Outcome) -> State:
    if found.undecided:
        return "running" if outcome.stored or found.waiting else found.state
    return "failed" if outcome.errors else "done"


def reply(document: Document) -> bytes:
    """Return the body of a reply: the document, or where it is if that is too large."""
    body = msgspec.json.encode(document)
    if len(body) <= REPLY_BYTES_MAX:
        return body
    fields = msgspec.to_builtins(document)
    del fields["errors"]
    return msgspec.json.encode(fields | {"location": f"/v1/requests/{document.request}"})


def answer(key: str, kind: str, found: Mapping[str, Any], location: str) -> bytes:
    """Return the body of a question's answer, or where it is if that is too large."""
    asked = {"request": key, "ask": kind}
    body = msgspec.json.encode({**asked, **found})
    if len(body) <= REPLY_BYTES_MAX:
        return body
    return msgspec.json.encode({**asked, "location": location})


def refusal(key: str, error: str, detail: str) -> bytes:
    """Return the body of a reply that says why nothing was done."""
    return msgspec.json.encode({"request": key, "error": error, "detail": detail})


def starts_running(requests: Sequence[OpenRequest]) -> list[str]:
    """Return the keys of requests of which something is known for the first time."""
    return [one.key for one in requests if one.state == "pending" and (one.stored or one.waiting)]
