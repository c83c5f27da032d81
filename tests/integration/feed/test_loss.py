"""Whatever is lost or comes twice, a consumer has each tick's balances or knows that it has not."""

import threading
from collections.abc import Callable

import psycopg
import pytest
import redis
from prometheus_client import REGISTRY

from services.syncer.service import Syncer
from shared.errors import Unavailable
from shared.follower_store import Span
from tests.support import ledger, lost_commits, servers
from tests.support.changes_consumer import Queue
from tests.support.feeding import Feeder, feeding, follower
from tests.support.ledger import add, minute
from tests.support.tcp_proxy import TcpProxy, proxying

Meddle = Callable[[TcpProxy], object]


def anew(reason: str) -> float:
    """Return how often a feed has started anew for a reason."""
    name, labels = "minutebook_follower_anew_total", {"reason": reason}
    return REGISTRY.get_sample_value(name, labels) or 0


def test_ticks_that_came_while_it_was_away_are_told_in_order(
    dsn: str, amqp_url: str, conn: psycopg.Connection, syncer: Syncer, queue: Queue
) -> None:
    with feeding(dsn, amqp_url) as feeder:
        feeder.run()
    for number in range(2, 12):
        add(conn, 1 + number % 2, number)
        syncer.tick(minute(number))
    with feeding(dsn, amqp_url) as feeder:
        assert feeder.run() == ["followed"] * 10
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


def test_after_a_restart_the_tick_after_a_start_names_it_as_its_previous_one(
    dsn: str, amqp_url: str, syncer: Syncer, queue: Queue
) -> None:
    with feeding(dsn, amqp_url) as feeder:
        assert feeder.run() == ["anew"]
    syncer.tick(minute(2))
    with feeding(dsn, amqp_url) as feeder:
        assert feeder.run() == ["followed"]
    started, closed = queue.drain().closed
    assert started["anew"]
    assert closed["previous_id"] == started["id"]
    syncer.tick(minute(3))
    with feeding(dsn, amqp_url) as feeder:
        feeder.run()
    assert queue.drain().closed[-1]["previous_id"] == closed["id"]


def test_a_start_is_named_by_the_next_tick_also_if_the_feed_died_as_its_position_had_moved(
    conn: psycopg.Connection, dsn: str, amqp_url: str, syncer: Syncer, queue: Queue
) -> None:
    with feeding(dsn, amqp_url) as feeder:
        feeder.run()
        conn.execute("UPDATE follower SET token = '' WHERE name = 'feed'")
        assert feeder.follower.run_once(feeder.conn, feeder.feed) == "anew"
    syncer.tick(minute(2))
    with feeding(dsn, amqp_url) as other:
        assert other.run() == ["followed"]
    *_, started, closed = queue.drain().closed
    assert started["anew"]
    assert closed["previous_id"] == started["id"]


def test_a_failover_that_lost_what_was_told_starts_anew(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    for number in (2, 3):
        add(conn, 1, 100)
        syncer.tick(minute(number))
    feeder.run()
    lost_commits.lose_after(conn, 2)
    before = anew("published_lost")
    assert feeder.run() == ["anew"]
    assert anew("published_lost") == before + 1
    assert queue.drain().closed[-1]["anew"]
    assert queue.consumer.sums == {1: 1400, 2: 1800}
    queue.consumer.assert_right(conn)


def test_a_failover_that_lost_a_tick_while_it_was_told_starts_anew(
    dsn: str, amqp_url: str, conn: psycopg.Connection, syncer: Syncer, queue: Queue
) -> None:
    one = follower()
    with proxying(amqp_url) as (proxy, url), feeding(dsn, url, one) as feeder:
        feeder.run()
        add(conn, 1, 100)
        syncer.tick(minute(2))
        proxy.lose(b"tick.closed")
        with pytest.raises(Unavailable):
            feeder.run()
    lost_commits.lose_after(conn, 1)
    with feeding(dsn, amqp_url, one) as feeder:
        assert feeder.run() == ["anew"]
    assert queue.drain().sums == {1: 1300, 2: 1800}
    queue.consumer.assert_right(conn)


def test_a_failover_while_the_feed_is_down_is_known_by_the_previous_id(
    dsn: str,
    amqp_url: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    *,
    syncer: Syncer,
    queue: Queue,
) -> None:
    del syncer
    with feeding(dsn, amqp_url) as feeder, ledger.syncing(dsn, keydb_server.url()) as syncing:
        feeder.run()
        for number in (2, 3):
            add(conn, 1, 100)
            syncing.tick(minute(number))
        feeder.run()
    assert [one["epoch"] for one in queue.drain().closed] == [1, 2, 3]
    lost_commits.lose_after(conn, 2)
    store.flushall()  # else the next epoch would be larger than that which was lost
    with feeding(dsn, amqp_url) as feeder, ledger.syncing(dsn, keydb_server.url()) as syncing:
        for number in (3, 4):
            add(conn, 2, 7)
            syncing.tick(minute(number))
        assert feeder.run() == ["followed", "followed"]
        assert queue.drain().missed()
        conn.execute("UPDATE follower SET token = ''")  # ops followers anew feed
        assert feeder.run() == ["anew"]
    assert not queue.drain().missed()
    assert queue.consumer.sums == {1: 1400, 2: 1814}
    queue.consumer.assert_right(conn)


def test_a_restore_into_another_cluster_starts_anew_at_the_baseline(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    conn.execute("UPDATE tick SET system_identifier = system_identifier - 1")
    add(conn, 1, 100)
    syncer.tick(minute(2))
    before = anew("baseline")
    assert feeder.run() == ["anew"]
    assert anew("baseline") == before + 1
    add(conn, 1, 100)
    syncer.tick(minute(3))
    assert feeder.run() == ["followed"]
    assert [one["epoch"] for one in queue.drain().closed] == [1, 2, 3]
    queue.consumer.assert_right(conn)


def test_a_tick_that_lacks_a_row_is_not_told_in_part_but_all_is_read_anew(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    for value in (5, 6):
        add(conn, 1, value)
    syncer.tick(minute(2))
    conn.execute("DELETE FROM outbox WHERE id = (SELECT max(id) FROM outbox)")
    before = anew("rows_gone")
    assert feeder.run() == ["anew"]
    assert anew("rows_gone") == before + 1
    assert not any("amount" in one and "operation" in one for _, _, one in queue.events)
    queue.drain().assert_right(conn)


def test_a_tick_whose_predecessor_goes_meanwhile_is_not_closed_but_all_is_read_anew(
    conn: psycopg.Connection, syncer: Syncer, feeder: Feeder, queue: Queue
) -> None:
    add(conn, 1, 5)
    syncer.tick(minute(2))
    flush = feeder.publisher.flush

    def prune() -> None:
        flush()
        conn.execute("DELETE FROM tick WHERE epoch = 1")

    feeder.publisher.flush = prune  # type: ignore[method-assign]
    assert feeder.run() == ["anew"]
    assert [one["anew"] for one in queue.drain().closed] == [True, True]
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
