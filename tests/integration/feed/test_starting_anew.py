"""What was lost for good makes the feed read all balances anew, and a consumer knows it."""

import psycopg
import pytest
import redis

from services.syncer.service import Syncer
from shared.errors import Unavailable
from tests.support import ledger, lost_commits, servers
from tests.support.changes_consumer import Queue
from tests.support.feeding import Feeder, feeding, follower
from tests.support.ledger import add, minute
from tests.support.recording_follower import times_anew
from tests.support.tcp_proxy import proxying


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
    before = times_anew("published_lost")
    assert feeder.run() == ["anew"]
    assert times_anew("published_lost") == before + 1
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
        assert feeder.run() == ["followed"]
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
    before = times_anew("baseline")
    assert feeder.run() == ["anew"]
    assert times_anew("baseline") == before + 1
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
    before = times_anew("rows_gone")
    assert feeder.run() == ["anew"]
    assert times_anew("rows_gone") == before + 1
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
