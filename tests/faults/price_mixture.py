"""Change records of prices: in order, repeated, of old versions, unfit; and what must come of them.

Each name has a symbol of its own, so no record is in conflict with another name's.
"""

import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg

from services.notifier import prices
from tests.faults.difference import Difference
from tests.faults.load import Load, producing_load
from tests.faults.message_mixture import Sent
from tests.support.stack import Stack

PER_S = 4
NAMES = 20
SOURCE = "faults"
UNFIT = {
    b'{"id": 1, "value": 600}': "missing_field",
    b'{"operation": "ADDED"': "not_json",
    b'{"operation": "TOUCHED"}': "invalid_value",
}
SELECT_PRICES = "SELECT source_id, version, price::text FROM price WHERE source = %s"

Known = tuple[int, str | None] | None
"""The version and the price of a name; without a price it was removed, None: it is not known."""


class Mixture:
    """Draws records from a seeded generator."""

    def __init__(self, seed: int) -> None:
        """The same seed gives the same records in the same order."""
        self._random = random.Random(seed)
        self._versions: Counter[str] = Counter()
        self._drawn: list[Sent] = []

    def draw(self) -> Sent:
        """Return the next record: one of five is one that was there before, one of ten unfit."""
        chance = self._random.random()
        if self._drawn and chance < 0.2:
            return self._random.choice(self._drawn)
        if chance < 0.3:
            body, reason = self._random.choice(list(UNFIT.items()))
            return Sent(f"{prices.QUEUE}:unfit-{len(self._drawn)}", body, reason=reason)
        drawn = self._record(f"P{self._random.randrange(NAMES)}")
        self._drawn.append(drawn)
        return drawn

    def _record(self, name: str) -> Sent:
        self._versions[name] += 1
        version = self._versions[name]
        price = {
            "symbol": name, "currency": "EUR", "day": "2026-11-28",
            "price": f"{version}.{self._random.randrange(1000):03}",
        }  # fmt: skip
        record: dict[str, Any] = {"source": SOURCE, "source_id": name, "version": version}
        removed = self._random.random() < 0.2
        record |= {"operation": "REMOVED"} if removed else {"operation": "MODIFIED", "price": price}
        return Sent(f"{prices.QUEUE}:{name}:{version}", json.dumps(record).encode())


@contextlib.contextmanager
def producing(stack: Stack, seed: int) -> Iterator[Load]:
    """Publish records while inside."""
    with producing_load(stack, seed, PER_S, queue=prices.QUEUE, mixture=Mixture(seed)) as load:
        yield load


def unfit(load: Load | None) -> list[Sent]:
    """Return what must be dead letters."""
    return [one for one in load.sent.values() if one.reason is not None] if load else []


def of_prices(conn: psycopg.Connection, load: Load | None) -> Iterator[Difference]:
    """Say which price is not that of the largest version that was confirmed, or of a later one."""
    known: dict[str, Known] = {
        name: (version, price) for name, version, price in conn.execute(SELECT_PRICES, [SOURCE])
    }
    possible: dict[str, dict[int, Known]] = {}
    surely: Counter[str] = Counter()
    for sent in load.sent.values() if load else ():
        if sent.reason is not None or not sent.published:
            continue
        record = json.loads(sent.body)
        name, version = record["source_id"], record["version"]
        price = record.get("price", {}).get("price")
        possible.setdefault(name, {0: None})[version] = (version, price)
        if sent.confirmed:
            surely[name] = max(surely[name], version)
    for name, versions in possible.items():
        fit = [one for version, one in versions.items() if version >= surely[name]]
        if known.get(name) not in fit:
            text = f"the price {name} is {known.get(name)}, not one of {fit[:5]}"
            yield Difference(text)
