"""Which changes and balances are told with which tick."""

import psycopg
import pytest

from services.syncer.service import Syncer
from tests.support.changes_consumer import Queue, of_tick
from tests.support.feeding import Feeder
from tests.support.ledger import add, minute


def test_a_tick_that_counted_nothing_is_closed_all_the_same(
    syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    syncer.tick(minute(2))
    assert feeder.run() == ["followed"]
    (closed,) = of_tick(queue, 2)
    assert (closed["event"], closed["balances"], closed["amount"]) == ("tick.closed", 0, "0")


def test_what_came_back_to_what_it_was_is_told_as_changes_and_not_as_a_balance(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    add(conn, 1, 5)
    add(conn, 1, -5)
    syncer.tick(minute(2))
    feeder.run()
    assert [one["event"] for one in of_tick(queue, 2)] == [
        "transaction.added",
        "transaction.added",
        "tick.closed",
    ]


def test_interim_ticks_are_told_with_the_due_tick_after_them(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    for value in (5, 6, 7):
        add(conn, 1, value)
        syncer.fold()
        syncer.prepare()
    assert feeder.run() == []
    add(conn, 2, 1)
    syncer.tick(minute(2))
    assert feeder.run() == ["followed"]
    assert queue.drain().closed[-1]["amount"] == "19"
    assert queue.consumer.closed[-1]["transactions"] == 4
    queue.consumer.assert_right(conn)


@pytest.mark.parametrize("told", ["before", "afterwards"])
def test_a_row_that_commits_late_is_told_with_the_tick_that_counted_it(
    dsn: str,
    conn: psycopg.Connection,
    syncer: Syncer,
    feeder: Feeder,
    queue: Queue,
    *,
    told: str,
) -> None:
    with psycopg.connect(dsn) as late:
        add(late, 1, 100)
        add(conn, 1, 5)
        syncer.tick(minute(2))
        if told == "before":
            feeder.run()
        late.commit()
    assert feeder.run() == ([] if told == "before" else ["followed"])
    assert [one.get("amount") for one in of_tick(queue, 2)] == ["5", None, "5"]
    add(conn, 2, 6)
    syncer.tick(minute(3))
    feeder.run()
    assert [one.get("amount") for one in of_tick(queue, 3)] == ["100", "6", None, None, "106"]
    queue.consumer.assert_right(conn)
