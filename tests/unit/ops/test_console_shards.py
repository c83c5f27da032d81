"""All shards in one list: one that hangs is said to, whatever it holds up of its own."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from ops.console import each_shard
from ops.console.all_shards import AllShards
from ops.console.balance_store import Last
from ops.console.balances import Balances
from ops.console.each_shard import EachShard
from ops.console.joined_balances import JoinedBalances
from ops.console.listing import Asked, Candidates, Listing, Row
from ops.console.sections import Sections
from ops.console.settings import ConsoleSettings
from ops.console.worth import Held, Worth
from ops.console.worth import joined as joined_worth
from shared.errors import Unavailable
from shared.ledger.valuation import Total
from tests.support.eventually import eventually

TICK = Last(7, datetime(2026, 11, 20, 23, 42, tzinfo=UTC), "1:1:", None, None, None)

TOO_LATE = "no answer within"
HANGS_S = 5.0


class OneShard:
    """Has some providers; answers nothing while it is `held`."""

    def __init__(self, *ids: int) -> None:
        self.ids = ids
        self.price: int | None = None
        self.answers, self.worth_answers = threading.Event(), threading.Event()
        self.answers.set()
        self.worth_answers.set()

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

    def worth(self, rows: Sequence[Held], last: Last) -> Worth | None:
        assert last == TICK
        self.worth_answers.wait()
        if self.price is None:
            return None
        values = {one.id: [f"{one.balance * self.price} EUR"] for one in rows}
        total = Total("EUR", str(sum(self.ids) * self.price), len(self.ids))
        return Worth(values, [total], too_many=False)

    def compared(self, listing: Listing) -> Listing:
        if listing.tick is None:
            return listing
        return replace(listing, rows=tuple(replace(one, same=False) for one in listing.rows))

    def past(self, at: datetime) -> dict[str, dict[str, Any]]:
        self.answers.wait(HANGS_S)
        return {"ticks": {"cells": []}, "verdict_past": {"at": at, "tick": TICK, "error": ""}}


@pytest.fixture
def pair() -> tuple[OneShard, OneShard]:
    return OneShard(2, 4), OneShard(1, 3)


@pytest.fixture
def joined(
    pair: tuple[OneShard, OneShard], monkeypatch: pytest.MonkeyPatch
) -> Iterator[JoinedBalances]:
    monkeypatch.setattr(each_shard, "WITHIN_S", 1.0)
    made = JoinedBalances([cast("Balances", one) for one in pair])
    yield made
    for one in pair:
        one.answers.set()
        one.worth_answers.set()
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
    for _ in range(2 * each_shard.THREADS_EACH):  # a busy machine is late with others, too
        eventually(lambda: is_listed(2, 4, late=True))
    pair[1].answers.set()
    eventually(lambda: is_listed(1, 2, 3, 4, late=False))


def test_a_shard_whose_worth_is_late_keeps_its_tick_and_is_compared_with_keydb(
    joined: JoinedBalances, pair: tuple[OneShard, OneShard]
) -> None:
    pair[1].worth_answers.clear()

    def shards() -> list[tuple[bool, bool, bool]]:
        try:
            page = joined.compared(joined.page(Asked()))
        except Unavailable:  # both were late
            return []
        differs = {one.id % 2: one.same is False for one in page.rows}
        return [
            (differs.get(one.number, False), one.tick == TICK, TOO_LATE in one.worth_error)
            for one in page.shards
        ]

    eventually(lambda: shards() == [(True, True, False), (True, True, True)])


def test_all_that_are_late_are_said_to_be_late_by_the_same_time() -> None:
    asked, goes_on = EachShard(3), threading.Event()
    found = asked.ask(dict.fromkeys(range(3), goes_on.wait), time.monotonic() + 0.3)
    goes_on.set()
    asked.close()

    assert {str(one) for one in found.values()} == {"postgres: no answer within 0.3 s"}


def test_a_question_after_the_end_gets_no_answer_and_is_no_bug() -> None:
    asked = EachShard(1)
    asked.close()

    found = asked.ask({0: lambda: None}, time.monotonic() + HANGS_S)

    assert "not asked" in str(found[0])


def test_a_question_that_waits_for_a_thread_at_the_end_gets_no_answer_and_is_no_bug() -> None:
    asked, goes_on = EachShard(1), threading.Event()
    begun = threading.Semaphore(0)

    def hangs() -> None:
        begun.release()
        goes_on.wait()

    def ask() -> str:
        return str(asked.ask({0: hangs}, time.monotonic() + HANGS_S)[0])

    with ThreadPoolExecutor() as threads:
        for _ in range(each_shard.THREADS_EACH):
            threads.submit(ask)
            assert begun.acquire(timeout=HANGS_S)
        waits = threads.submit(ask)
        asked.close()
        goes_on.set()

    assert "not asked" in waits.result()


def test_a_key_is_looked_up_in_its_own_shard(joined: JoinedBalances) -> None:
    def found() -> list[int]:
        try:
            return ids(joined.page(Asked(search="3_Bank")))
        except Unavailable:
            return []

    eventually(lambda: found() == [3, 1, 2, 4])


def test_what_a_page_is_worth_is_asked_at_each_look_at_it(
    joined: JoinedBalances, pair: tuple[OneShard, OneShard]
) -> None:
    def worth() -> Worth | None:
        try:
            return joined.page(Asked()).worth
        except Unavailable:
            return None

    eventually(lambda: ids(joined.page(Asked())) == [1, 2, 3, 4])
    assert worth() is None
    for one in pair:
        one.price = 7
    values = {1: ["7 EUR"], 2: ["14 EUR"], 3: ["21 EUR"], 4: ["28 EUR"]}
    expected = Worth(values, [Total("EUR", "70", 4)], too_many=False)
    eventually(lambda: worth() == expected)


@pytest.mark.parametrize(
    ("values", "total"),
    [
        (
            ["123456789.12345678901234567891", "0.00000000000000000009"],
            "123456789.123456789012345679",
        ),
        (["123456789.12345678901234567891"], "123456789.12345678901234567891"),
        (["1.5", "0.5"], "2"),
        (["10", "10"], "20"),
        (["-0.5", "0.5"], "0"),
        (["9" * 100, "0." + "0" * 99 + "1"], "9" * 100 + "." + "0" * 99 + "1"),
    ],
)
def test_the_total_of_all_shards_is_exact(values: list[str], total: str) -> None:
    each = [Worth({}, [Total("EUR", one, 1)], too_many=False) for one in values]

    assert joined_worth(each).totals == [Total("EUR", total, len(values))]


def test_of_a_past_minute_a_shard_that_hangs_is_said_to_and_the_others_are_shown(
    pair: tuple[OneShard, OneShard], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(each_shard, "WITHIN_S", 1.0)
    each = [(cast("ConsoleSettings", None), cast("Sections", one)) for one in pair]
    all_shards = AllShards(each)
    pair[0].answers.clear()

    def shown() -> list[tuple[bool, bool]]:
        try:
            found = all_shards.past(TICK.boundary)["verdict_past"]["each"]
        except Unavailable:  # both were late
            return []
        return [(one["tick"] == TICK, TOO_LATE in one["error"]) for one in found]

    eventually(lambda: shown() == [(False, True), (True, False)])
    pair[0].answers.set()
    all_shards.close()
