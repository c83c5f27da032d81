"""`ops feed replay`: past ticks, told again to one queue, as they were told the first time."""

from collections.abc import Iterator

import psycopg
import pytest

from services.syncer.service import Syncer
from tests.support import changes_consumer, feeding, ops_tool
from tests.support.changes_consumer import Queue
from tests.support.ledger import add, minute
from tests.support.ops_tool import Tool


@pytest.fixture
def queue(amqp_url: str) -> Iterator[Queue]:
    with changes_consumer.bound(amqp_url) as queue:
        yield queue


@pytest.fixture
def tool(dsn: str, amqp_url: str, syncer: Syncer, conn: psycopg.Connection, queue: Queue) -> Tool:
    """Ticks 2 to 5, told to the queue; each adds its number to Visa."""
    with feeding.feeding(dsn, amqp_url) as feeder:
        feeder.run()
        for number in range(2, 6):
            add(conn, 1, number)
            syncer.tick(minute(number))
        feeder.run()
    queue.drain()
    return ops_tool.deployment(dsn, amqp_url)


def test_it_is_told_again_with_the_same_ids_and_bodies(
    tool: Tool, amqp_url: str, queue: Queue
) -> None:
    with changes_consumer.bound(amqp_url, "changes.late") as late:
        done = tool.json("feed", "replay", "--from", "3", "--to", "4", "--queue", "changes.late")
        late.drain()
        assert done == {
            "queue": "changes.late",
            "first_epoch": 3,
            "last_epoch": 4,
            "ticks": 2,
            "of": 2,
        }
        told = [event for _, _, event in queue.events if event["epoch"] in {3, 4}]
        assert [event for _, _, event in late.events] == told
        assert {about.type for _, about, _ in late.events} == {one["event"] for one in told}
    queue.drain()
    assert queue.consumer.repeated == 0, "nobody else is told"


def test_a_consumer_that_missed_ticks_is_right_after_their_replay(
    tool: Tool, conn: psycopg.Connection, queue: Queue
) -> None:
    consumer = changes_consumer.Consumer()
    for _, _, event in queue.events:
        if event["epoch"] not in {3, 4}:
            consumer.take(event)
    assert consumer.missed()
    said = tool("feed", "replay", "--from", "3", "--to", "4", "--queue", queue.name)
    assert (said.code, said.stdout) == (0, "2 ticks of 2 sent to changes.test\n")
    seen = len(queue.events)
    queue.drain()
    for _, _, event in queue.events[seen:]:
        consumer.take(event)
    assert not consumer.missed()
    consumer.assert_right(conn)


def test_without_an_end_it_goes_on_to_the_newest_tick_and_balances_may_be_asked_for_alone(
    tool: Tool, queue: Queue
) -> None:
    seen = len(queue.events)
    done = tool.json("feed", "replay", "--from", "4", "--queue", queue.name, "--events", "balances")
    assert (done["ticks"], done["last_epoch"]) == (2, 5)
    queue.drain()
    assert [event["event"] for _, _, event in queue.events[seen:]] == [
        "balance.changed",
        "tick.closed",
    ] * 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", "9", "--queue", "changes.test"], "no due tick from epoch 9"),
        (["--from", "0", "--queue", "changes.test"], "epoch 0 is a baseline"),
        (["--from", "3", "--queue", "nowhere"], "there is no queue nowhere"),
        (["--from", "3", "--queue", "incoming_transactions"], "is not for events"),
        (["--from", "3", "--queue", "syncer.ticks"], "is not for events"),
    ],
)
def test_what_cannot_be_told_is_refused_and_nothing_is_sent(
    tool: Tool, queue: Queue, arguments: list[str], says: str
) -> None:
    done = tool.json("feed", "replay", *arguments, code=1)
    assert says in done["error"]["detail"]
    assert queue.drain().repeated == 0


def test_a_tick_whose_rows_are_gone_is_named_and_those_before_it_were_sent(
    tool: Tool, conn: psycopg.Connection, queue: Queue
) -> None:
    conn.execute("DELETE FROM outbox WHERE amount = 4 AND transaction_id IS NOT NULL")
    done = tool.json("feed", "replay", "--from", "3", "--queue", queue.name, code=1)
    assert done["error"]["detail"].startswith("1 tick sent; of epoch 4 the outbox's rows are gone")
