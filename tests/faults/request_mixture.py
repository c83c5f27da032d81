"""What is posted by HTTP: requests under keys, and what their clients do with a key.

Drawn from a seeded generator, as the messages beside it (`message_mixture.py`). The amount
`REFUSED` is fit for all that the gateway knows of; a constraint unknown to it refuses it.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import psycopg

from shared import request_message
from tests.faults.message_mixture import LATE, PROVIDERS, VALUE_MAX

REFUSED = 777_000_777
HAVE_REFUSED = f"""
ALTER TABLE historical_transactions
    ADD CONSTRAINT faults_refused CHECK (transaction_value <> {REFUSED})
"""
TOKEN, BY = "password", "dev"
"""As compose.yaml has them."""
REPLIES = "replies.faults"
ITEMS_MAX = 6

Habit = Literal["once", "again", "row deleted", "gives up"]
"""*Again*: the client repeats a request that was answered. *Row deleted*: it does so after an
operator has deleted a row of it. *Gives up*: it repeats nothing that got no answer."""


@dataclass(frozen=True)
class Item:
    """A transaction; `own` is its own `message_id`."""

    provider: int
    value: int
    own: str | None = None

    def body(self) -> bytes:
        """Return it as it is posted, and published."""
        fields: dict[str, object] = {"id": self.provider, "value": self.value}
        if self.own:
            fields["message_id"] = self.own
        return json.dumps(fields, separators=(",", ":")).encode()


@dataclass(eq=False)
class Posting:
    """A request as one client posts it, and what it was answered; another may have the same key."""

    key: str
    items: Sequence[Item]
    correlation_id: str
    habit: Habit = "once"
    at_s: float = 0.0
    """When it was first posted (monotonic)."""
    attempts: int = 0
    accepted: int = 0
    """How often the answer was 202."""
    conflicts: int = 0
    """How often it was `idempotency_conflict`."""
    deleted: set[str] = field(default_factory=set)
    """Identities whose rows an operator has deleted."""

    def identities(self) -> list[str]:
        """Return the identity of each item."""
        return [one.own or f"{self.key}:{number}" for number, one in enumerate(self.items)]

    def body(self) -> bytes:
        """Return what is posted."""
        return b"[" + b",".join(one.body() for one in self.items) + b"]"

    def digest(self) -> bytes:
        """Return what the tracker knows the same items by."""
        return request_message.digest(
            (one.provider, one.value, one.own, None) for one in self.items
        )


class RequestMixture:
    """An endless stream of requests."""

    def __init__(self, seed: int) -> None:
        """Keys hold the seed, so that two runs on one stack would not clash."""
        self._random = random.Random(seed)
        self._seed = seed
        self._number = 0
        self._own: list[Item] = []
        """Items with identities of their own, which later requests use again."""

    def draw(self) -> list[Posting]:
        """Return what is posted next: one request, or two at once under one key."""
        self._number += 1
        key = f"http-{self._seed}-{self._number}"
        first = Posting(key, self._items(), f"{key}-a")
        kind = self._random.random()
        if kind < 0.12:
            return [first, replace(first, correlation_id=f"{key}-b", deleted=set())]
        if kind < 0.24:
            return [first, self._other(first)]
        if kind < 0.36 and all(one.provider in PROVIDERS for one in first.items):
            first.habit = "row deleted"
        elif kind < 0.46:
            first.habit = "again"
        elif kind < 0.56:
            first.habit = "gives up"
        return [first]

    def _other(self, first: Posting) -> Posting:
        """Return a request of the same key that another client posts, with other items."""
        items = [*first.items]
        place = self._random.randrange(len(items))
        value = items[place].value + self._random.randint(1, VALUE_MAX)
        items[place] = replace(items[place], value=value, own=None)
        return Posting(first.key, items, f"{first.key}-b")

    def _items(self) -> list[Item]:
        items: list[Item] = []
        for _ in range(self._random.randint(1, ITEMS_MAX)):
            one = self._item()
            if one.own is None or one.own not in {other.own for other in items}:
                items.append(one)
        return items

    def _item(self) -> Item:
        kind = self._random.random()
        value = self._random.randint(-VALUE_MAX, VALUE_MAX)
        one = Item(self._random.choice(PROVIDERS), value)
        if kind < 0.04:
            return replace(one, provider=self._random.choice(LATE))
        if kind < 0.08:
            return replace(one, value=REFUSED)
        if kind < 0.14 or (kind < 0.20 and not self._own):
            self._number += 1
            own = replace(one, own=f"http-{self._seed}-own-{self._number}")
            self._own.append(own)
            return own
        if kind < 0.17:
            return self._random.choice(self._own)
        if kind < 0.20:
            return replace(self._random.choice(self._own), value=value)
        return one


def prepare(conn: psycopg.Connection) -> None:
    """Have the database refuse an amount that the gateway takes for fit."""
    conn.execute(HAVE_REFUSED)
