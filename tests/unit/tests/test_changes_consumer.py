"""The consumer by which the feed is judged sees what is missing, twice, or out of order."""

from typing import Any

import pytest

from tests.support.changes_consumer import Consumer

Event = dict[str, Any]


def closed(epoch: int, previous: int | None, **counts: int) -> Event:
    counted = {"transactions": 0, "providers": 0, "balances": 0, "amount": 0} | counts
    return {
        "event": "tick.closed",
        "id": f"T{epoch}:tick",
        "epoch": epoch,
        "previous_id": None if previous is None else f"T{previous}:tick",
        "anew": False,
        **counted,
        "amount": str(counted["amount"]),
    }


def added(epoch: int, number: int, amount: int, provider: int = 1) -> Event:
    return {
        "event": "transaction.added",
        "id": f"T{epoch}:t:{number}",
        "operation": "ADDED",
        "provider_id": provider,
        "amount": str(amount),
        "epoch": epoch,
    }


def changed(epoch: int, balance: int, previous: int) -> Event:
    return {
        "event": "balance.changed",
        "id": f"T{epoch}:b:1",
        "operation": "MODIFIED",
        "provider_id": 1,
        "key": "1_Visa",
        "balance": str(balance),
        "previous": str(previous),
        "previous_key": "1_Visa",
        "epoch": epoch,
    }


def started(epoch: int, balance: int, start: str = "R") -> list[Event]:
    read = changed(epoch, balance, 0) | {
        "event": "balance.read",
        "id": f"T{epoch}:r:{start}:1",
        "operation": "READ",
    }
    end = closed(epoch, None, balances=1) | {"id": f"T{epoch}:r:{start}:tick", "anew": True}
    return [read, end]


def tick(epoch: int, amount: int, balance: int, previous_id: str) -> list[Event]:
    end = closed(epoch, None, transactions=1, balances=1, amount=amount)
    return [
        added(epoch, epoch, amount),
        changed(epoch, balance, balance - amount),
        end | {"previous_id": previous_id},
    ]


def fed(*events: Event) -> Consumer:
    consumer = Consumer()
    for event in events:
        consumer.take(event)
    return consumer


def test_what_came_once_counts_once_however_often_it_is_repeated() -> None:
    one, two = tick(2, 5, 15, "T1:r:R:tick"), tick(3, 7, 22, "T2:tick")
    consumer = fed(*started(1, 10), *one, *one[:1], *one, *two[:2], *one, *two, *two)
    assert (consumer.sums, consumer.shown) == ({1: 22}, {"1_Visa": 22})
    assert [event["epoch"] for event in consumer.closed] == [1, 2, 3]
    assert not consumer.missed()


def test_nothing_counts_before_it_is_read() -> None:
    consumer = fed(*tick(1, 5, 15, "T0:tick"))
    assert consumer.missed()
    for event in started(1, 15):
        consumer.take(event)
    assert consumer.sums == {1: 15}
    assert not consumer.missed()


def test_a_tick_that_is_missing_is_noticed_and_made_good_by_a_replay() -> None:
    second, third = tick(2, 5, 15, "T1:r:R:tick"), tick(3, 7, 22, "T2:tick")
    consumer = fed(*started(1, 10), *third)
    assert consumer.missed()
    assert consumer.sums == {1: 10}
    for event in second:
        consumer.take(event)
    assert not consumer.missed()
    assert consumer.sums == {1: 22}


def test_events_of_a_tick_that_was_lost_count_for_nothing() -> None:
    lost = added(2, 9, 1000) | {"id": "LOST:t:9"}
    consumer = fed(*started(1, 10), lost, *tick(2, 5, 15, "T1:r:R:tick"))
    assert consumer.sums == {1: 15}


def test_what_is_read_replaces_everything_whatever_its_epoch() -> None:
    later = tick(2, 5, 15, "T1:r:R:tick")
    assert fed(*started(1, 10), *later, *started(1, 10, "S")).sums == {1: 10}


@pytest.mark.parametrize("missing", [0, 1])
def test_it_fails_where_an_event_of_a_closed_tick_is_missing(missing: int) -> None:
    events = tick(2, 5, 15, "T1:r:R:tick")
    del events[missing]
    with pytest.raises(AssertionError, match="has"):
        fed(*started(1, 10), *events)


def test_it_fails_where_changes_of_a_provider_are_out_of_order() -> None:
    end = closed(2, None, transactions=2, amount=3) | {"previous_id": "T1:r:R:tick"}
    with pytest.raises(AssertionError, match="order"):
        fed(*started(1, 10), added(2, 8, 1), added(2, 7, 2), end)


def test_it_fails_where_a_balance_does_not_follow_the_one_before() -> None:
    with pytest.raises(AssertionError, match="follows"):
        fed(*started(1, 10), *tick(2, 5, 16, "T1:r:R:tick"))
