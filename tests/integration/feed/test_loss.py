"""Whatever is cut off or comes twice, each tick is told whole, in order, under the same ids."""

import threading
from collections.abc import Callable

import psycopg
import pytest

from services.syncer.service import Syncer
from shared.errors import Unavailable
from shared.follower_store import Span
from tests.support.changes_consumer import Queue
from tests.support.feeding import Feeder, feeding, follower
from tests.support.ledger import add, minute
from tests.support.tcp_proxy import TcpProxy, proxying

Meddle = Callable[[TcpProxy], object]


def test_ticks_that_came_while_it_was_away_are_told_in_order(
    dsn: str, amqp_url: str, conn: psycopg.Connection, syncer: Syncer, queue: Queue
) -> None:
    with feeding(dsn, amqp_url) as feeder:
        feeder.run()
    for number in range(2, 12):
        add(conn, 1 + number % 2, number)
        syncer.tick(minute(number))
    with feeding(dsn, amqp_url) as feeder:
        assert feeder.run() == ["followed"]
    assert [one["epoch"] for one in queue.drain().closed] == list(range(1, 12))
    assert not queue.consumer.missed()
    assert queue.consumer.repeated == 0
    queue.consumer.assert_right(conn)


@pytest.mark.parametrize("events", [b"transaction.added", b"balance.changed", b"tick.closed"])
@pytest.mark.parametrize("lost", [TcpProxy.lose, TcpProxy.lose_reply_to])
def test_a_tick_whose_publishing_was_cut_off_is_told_again_under_the_same_ids(
    dsn: str,
    amqp_url: str,
    conn: psycopg.Connection,
    syncer: Syncer,
    queue: Queue,
    *,
    events: bytes,
    lost: Callable[[TcpProxy, bytes], object],
) -> None:
    one = follower()
    with proxying(amqp_url) as (proxy, url), feeding(dsn, url, one) as feeder:
        feeder.run()
        add(conn, 1, 5)
        syncer.tick(minute(2))
        lost(proxy, events)
        with pytest.raises(Unavailable, match="rabbitmq"):
            feeder.run()
    with feeding(dsn, amqp_url, one) as feeder:
        assert feeder.run() == ["followed"]
    queue.drain()
    ids = [event["id"] for _, _, event in queue.events]
    assert len(set(ids)) == 3 + 3, "the start has three events, the tick three"
    assert [one["epoch"] for one in queue.consumer.closed] == [1, 2]
    queue.consumer.assert_right(conn)


@pytest.mark.parametrize(
    ("lost", "repeated"), [(TcpProxy.lose, 3), (TcpProxy.lose_reply_to, 0)], ids=["lost", "done"]
)
def test_a_position_whose_move_was_cut_off_repeats_the_tick_only_if_it_was_lost(
    dsn: str,
    amqp_url: str,
    conn: psycopg.Connection,
    syncer: Syncer,
    queue: Queue,
    *,
    lost: Callable[[TcpProxy, bytes], object],
    repeated: int,
) -> None:
    one = follower()
    with proxying(dsn) as (proxy, url), feeding(url, amqp_url, one) as feeder:
        feeder.run()
        add(conn, 1, 5)
        syncer.tick(minute(2))
        lost(proxy, b"UPDATE follower")
        with pytest.raises(Unavailable, match="postgres"):
            feeder.run()
    with feeding(dsn, amqp_url, one) as feeder:
        feeder.run()
    assert queue.drain().repeated == repeated
    assert [one["epoch"] for one in queue.consumer.closed] == [1, 2]
    queue.consumer.assert_right(conn)


def test_a_session_that_is_gone_closes_no_tick(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    add(conn, 1, 5)
    syncer.tick(minute(2))
    publish = feeder.publisher.flush

    def flush() -> None:
        publish()
        conn.execute("SELECT pg_terminate_backend(%s)", [feeder.conn.info.backend_pid])

    feeder.publisher.flush = flush  # type: ignore[method-assign]
    with pytest.raises(Unavailable, match="postgres"):
        feeder.run()
    queue.drain()
    assert [one["event"] for _, _, one in queue.events[3:]] == [
        "transaction.added",
        "balance.changed",
    ]


def test_one_that_slept_while_another_went_on_only_repeats(
    dsn: str, amqp_url: str, conn: psycopg.Connection, syncer: Syncer, queue: Queue
) -> None:
    with feeding(dsn, amqp_url) as sleeper, feeding(dsn, amqp_url) as other:
        sleeper.run()
        add(conn, 1, 5)
        syncer.tick(minute(2))
        follow = sleeper.feed.follow

        def sleep(span: Span) -> None:
            assert other.run() == ["followed"]
            add(conn, 2, 7)
            syncer.tick(minute(3))
            assert other.run() == ["followed"]
            follow(span)

        sleeper.feed.follow = sleep  # type: ignore[method-assign]
        assert sleeper.follower.run_once(sleeper.conn, sleeper.feed) == "overtaken"
    assert [one["epoch"] for one in queue.drain().closed] == [1, 2, 3]
    assert queue.consumer.repeated == 3
    assert not queue.consumer.missed()
    queue.consumer.assert_right(conn)


def test_a_queue_that_refuses_events_holds_the_feed_up_and_nothing_is_left_out(
    dsn: str, amqp_url: str, conn: psycopg.Connection, syncer: Syncer, queue: Queue
) -> None:
    one = follower()
    with feeding(dsn, amqp_url, one) as feeder:
        feeder.run()
        queue.bind_refusing("full")
        add(conn, 1, 5)
        syncer.tick(minute(2))
        with pytest.raises(Unavailable, match="refused a message"):
            feeder.run()
    queue.delete("full")
    with feeding(dsn, amqp_url, one) as feeder:
        assert feeder.run() == ["followed"]
    assert [one["epoch"] for one in queue.drain().closed] == [1, 2]
    queue.consumer.assert_right(conn)


def test_a_call_beside_keeps_the_connection_turning_and_its_error_is_raised(
    feeder: Feeder,
) -> None:
    turned = threading.Event()

    def wait_for_a_turn() -> bool:
        feeder.publisher.from_thread(turned.set)
        return turned.wait(10)

    assert feeder.publisher.beside(wait_for_a_turn)
    with pytest.raises(ZeroDivisionError):
        feeder.publisher.beside(lambda: 1 // 0)
