"""All shards in one list: one that hangs is said to, whatever it holds up of its own."""

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from ops.console import joined_balances
from ops.console.balance_store import Last
from ops.console.balances import Balances
from ops.console.joined_balances import JoinedBalances
from ops.console.listing import Asked, Candidates, Listing, Row
from shared.errors import Unavailable
from tests.support.eventually import eventually

TICK = Last(7, datetime(2026, 11, 20, 23, 42, tzinfo=UTC), "1:1:", None, None, None)

TOO_LATE = "no answer within"


class OneShard:
    """Has some providers; answers nothing while it is `held`."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids
        self.answers = threading.Event()
        self.answers.set()

    def last(self, at: datetime | None) -> Last:
        assert at is None
        self.answers.wait()
        return TICK

    def candidates(self, asked: Asked, last: Last) -> Candidates:
        assert last == TICK
        return Candidates([one for one in self.ids if asked.after is None or one > asked.after])

    def those(self, ids: Sequence[int], last: Last, *, now: bool) -> Listing:
        assert now
        rows = [Row(one, f"{one}_Bank", one, None, None, None, None, []) for one in ids]
        return Listing(Asked(), last, tuple(rows))


@pytest.fixture
def pair() -> tuple[OneShard, OneShard]:
    return OneShard(2, 4), OneShard(1, 3)


@pytest.fixture
def joined(
    pair: tuple[OneShard, OneShard], monkeypatch: pytest.MonkeyPatch
) -> Iterator[JoinedBalances]:
    monkeypatch.setattr(joined_balances, "WITHIN_S", 1.0)
    made = JoinedBalances([cast("Balances", one) for one in pair])
    yield made
    for one in pair:
        one.answers.set()
    made.close()


def ids(listing: Listing) -> list[int]:
    return [one.id for one in listing.rows]


def test_a_shard_that_hangs_is_said_to_and_costs_the_others_nothing(
    joined: JoinedBalances, pair: tuple[OneShard, OneShard]
) -> None:
    def listed() -> tuple[list[int], list[bool]]:
        try:
            found = joined.page(Asked())
        except Unavailable:  # both were late
            return [], []
        return ids(found), [TOO_LATE in one.error for one in found.shards]

    def is_listed(*expected: int, late: bool) -> bool:
        return listed() == (list(expected), [False, late])

    eventually(lambda: is_listed(1, 2, 3, 4, late=False))
    pair[1].answers.clear()
    for _ in range(2 * joined_balances.THREADS_EACH):  # a busy machine is late with others, too
        eventually(lambda: is_listed(2, 4, late=True))
    pair[1].answers.set()
    eventually(lambda: is_listed(1, 2, 3, 4, late=False))


def test_a_key_is_looked_up_in_its_own_shard(joined: JoinedBalances) -> None:
    def found() -> list[int]:
        try:
            return ids(joined.page(Asked(search="3_Bank")))
        except Unavailable:
            return []

    eventually(lambda: found() == [3, 1, 2, 4])
