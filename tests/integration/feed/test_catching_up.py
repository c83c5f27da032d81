"""A feed that missed ticks tells several of them before its position moves."""

import contextlib
from collections.abc import Callable

import psycopg
import pytest

from services.feed import store
from services.feed.service import Feed
from services.syncer.service import Syncer
from shared import follower_store
from shared.errors import Unavailable
from shared.follower import TICKS_AT_ONCE
from shared.follower_store import Span
from tests.support.changes_consumer import Queue
from tests.support.feeding import Feeder, feeding, follower
from tests.support.ledger import add, minute
from tests.support.tcp_proxy import TcpProxy, proxying


def position(conn: psycopg.Connection) -> object:
    return conn.execute("SELECT epoch, token FROM follower WHERE name = 'feed'").fetchone()


def test_the_position_moves_once_for_as_many_ticks_as_are_told_in_one_go(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    for number in range(2, 3 + TICKS_AT_ONCE):
        add(conn, 1, number)
        syncer.tick(minute(number))
    begun, follow = position(conn), feeder.feed.follow
    seen: list[tuple[object, bool]] = []

    def watched(span: Span) -> None:
        follow(span)
        seen.append((position(conn), span.more))

    feeder.feed.follow = watched  # type: ignore[method-assign]
    assert feeder.run() == ["followed", "followed"]
    assert seen[:TICKS_AT_ONCE] == [(begun, True)] * (TICKS_AT_ONCE - 1) + [(begun, False)]
    assert [one["epoch"] for one in queue.drain().closed] == list(range(1, 3 + TICKS_AT_ONCE))
    assert not queue.consumer.missed()
    assert queue.consumer.repeated == 0
    queue.consumer.assert_right(conn)


@pytest.mark.parametrize("lost", [TcpProxy.lose, TcpProxy.lose_reply_to])
def test_what_was_cut_off_between_two_ticks_is_told_again_and_none_is_missed(
    dsn: str,
    amqp_url: str,
    conn: psycopg.Connection,
    syncer: Syncer,
    queue: Queue,
    *,
    lost: Callable[[TcpProxy, bytes], object],
) -> None:
    one = follower()
    with proxying(amqp_url) as (proxy, url), feeding(dsn, url, one) as feeder:
        feeder.run()
        begun = position(conn)
        for number in (2, 3, 4):
            add(conn, 1, number)
            syncer.tick(minute(number))
        lost(proxy, b"tick.closed")
        with pytest.raises(Unavailable, match="rabbitmq"):
            feeder.run()
        assert position(conn) == begun
    with feeding(dsn, amqp_url, one) as feeder:
        assert feeder.run() == ["followed"]
    assert [one["epoch"] for one in queue.drain().closed] == [1, 2, 3, 4]
    assert not queue.consumer.missed()
    queue.consumer.assert_right(conn)


def test_a_tick_that_lacks_a_row_leaves_none_before_it_half_told(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    for number in (2, 3, 4):
        add(conn, 1, number)
        syncer.tick(minute(number))
    conn.execute("DELETE FROM outbox WHERE id = (SELECT max(id) - 1 FROM outbox)")
    assert feeder.run() == ["anew"]
    add(conn, 2, 5)
    syncer.tick(minute(5))
    assert feeder.run() == ["followed"]
    assert [one["epoch"] for one in queue.drain().closed] == [1, 4, 5]
    closed = [event["epoch"] for _, _, event in queue.events if event["event"] == "tick.closed"]
    assert closed == [1, 4, 5], "the tick before it is not closed afterwards, either"
    assert not queue.consumer.missed()
    queue.consumer.assert_right(conn)


LIMITS = {
    "many rows": "UPDATE tick SET rows = 1000000 WHERE epoch >= 3",
    "a new baseline": "UPDATE tick SET system_identifier = 1 WHERE epoch >= 3",
}


@pytest.mark.parametrize("change", LIMITS.values(), ids=LIMITS)
def test_one_go_ends_before_a_tick_with(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, *, change: str
) -> None:
    for number in (2, 3, 4):
        syncer.tick(minute(number))
    conn.execute(change.encode())
    found = follower_store.next_step(feeder.conn, "feed", None, ticks_max=TICKS_AT_ONCE)
    assert [(one.tick.epoch, one.more) for one in found.spans] == [(2, False)]


def test_it_pauses_before_whatever_it_asks_of_a_server(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    add(conn, 1, 5)
    syncer.tick(minute(2))
    told: list[int] = []

    def pause() -> None:
        queue.drain()
        told.append(len(queue.events))

    feed = Feed(feeder.conn, feeder.publisher, pause)
    assert feeder.follower.run_once(feeder.conn, feed) == "followed"
    assert len(told) == 4, "two questions to Postgres, a change and a balance to RabbitMQ"
    assert told[0] == told[2] == 3, "those of its start: it pauses before, not after"


@pytest.mark.parametrize("few", [True, False], ids=["few", "many"])
def test_rows_are_counted_before_they_are_read(feeder: Feeder, *, few: bool) -> None:
    number = 2 * store.ROWS_PER_BATCH + 1
    query = "SELECT n FROM generate_series(1, %(number)s::int) n"
    with (
        contextlib.closing(store.Found(feeder.conn, query, few=few)) as found,
        contextlib.closing(store.Found(feeder.conn, query, few=few)) as other,
    ):
        found.find({"number": number})
        other.find({"number": 1})
        assert (found.count(), other.count()) == (number, 1)
        assert feeder.conn.info.transaction_status.name == "IDLE"
        assert [n for batch in found.batches() for (n,) in batch] == list(range(1, number + 1))
        assert list(other.batches()) == [[(1,)]]
