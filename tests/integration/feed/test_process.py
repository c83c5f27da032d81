"""The feed as a process: a standby, a broker with an alarm or restarted, its exchange deleted."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from functools import partial

import pika
import psycopg
import pytest

from services.syncer.service import Syncer
from tests.support import changes_consumer, outages, programs
from tests.support.changes_consumer import Consumer, Queue
from tests.support.eventually import eventually
from tests.support.ledger import add, minute
from tests.support.loss_scenario import said
from tests.support.notifying import add_alert
from tests.support.own_broker import OwnBroker
from tests.support.programs import Program
from tests.support.readiness import await_broker

START_S = 60.0
ASKED = "SELECT pid, query_start FROM pg_stat_activity WHERE application_name = %s"


def feed(dsn: str, amqp_url: str) -> AbstractContextManager[Program]:
    return programs.running("services.feed", POSTGRES_DSN=dsn, RABBITMQ_URL=amqp_url)


def healthy(program: Program) -> bool:
    return program.health()[0] == 200


@pytest.fixture
def own_url(own: OwnBroker) -> Iterator[str]:
    """A virtual host of the test's own, on a broker that it may stop."""
    with own.server.vhost(queue_type="classic") as url:  # it is there again at once
        yield url


def test_one_feed_is_at_work_and_another_takes_over_when_it_is_killed(
    dsn: str, amqp_url: str, conn: psycopg.Connection, syncer: Syncer, queue: Queue
) -> None:
    with feed(dsn, amqp_url) as one, feed(dsn, amqp_url) as other:
        eventually(lambda: queue.closed(1), START_S)
        eventually(
            lambda: said(one, "follower_stands_by") or said(other, "follower_stands_by"), START_S
        )
        first, second = (other, one) if said(one, "follower_stands_by") else (one, other)
        eventually(lambda: healthy(first) and healthy(second), START_S)
        first.kill()
        add(conn, 1, 5)
        syncer.tick(minute(2))
        eventually(lambda: queue.closed(2), 20)
        assert second.stop() == 0
    assert [one["epoch"] for one in queue.consumer.closed] == [1, 2]
    assert queue.consumer.repeated == 0
    queue.consumer.assert_right(conn)


def test_an_exchange_that_was_deleted_is_made_again_and_the_tick_told_again(
    dsn: str, amqp_url: str, conn: psycopg.Connection, syncer: Syncer, queue: Queue
) -> None:
    with feed(dsn, amqp_url) as program:
        eventually(lambda: queue.closed(1), START_S)
        queue.delete_exchange()
        add(conn, 1, 5)
        syncer.tick(minute(2))
        eventually(lambda: said(program, "events_published", epoch=2), 20)
        queue.bind()
        add(conn, 1, 6)
        syncer.tick(minute(3))
        eventually(lambda: said(program, "events_published", epoch=3), 20)
        eventually(lambda: queue.drain().missed())  # nobody was bound when tick 2 was told again
        assert program.stop() == 0


def test_while_the_broker_has_an_alarm_it_says_so_ends_when_told_and_goes_on_afterwards(
    own: OwnBroker, own_url: str, dsn: str, conn: psycopg.Connection, syncer: Syncer
) -> None:
    with changes_consumer.bound(own_url) as queue:
        with feed(dsn, own_url) as program:
            eventually(lambda: queue.closed(1), 20)
            with own.alarm():
                add(conn, 1, 5)
                syncer.tick(minute(2))
                eventually(lambda: "takes nothing while its alarm lasts" in program.health()[1], 20)
                assert program.health()[0] == 503
                assert program.stop() == 0
        with feed(dsn, own_url):
            eventually(lambda: queue.closed(2), 20)
        queue.consumer.assert_right(conn)


def test_a_broker_that_is_restarted_loses_and_leaves_out_nothing(
    own: OwnBroker, own_url: str, dsn: str, conn: psycopg.Connection, syncer: Syncer
) -> None:
    consumer = Consumer()
    assert not closed(own_url, consumer, 1), "only the queue is made"
    with feed(dsn, own_url) as program:
        eventually(lambda: closed(own_url, consumer, 1), START_S)
        own.container.kill()
        with outages.afterwards(own.container.start):
            add(conn, 1, 5)
            syncer.tick(minute(2))
            eventually(lambda: program.health()[0] == 503, 20)
        await_broker(own.container, START_S)
        eventually(lambda: closed(own_url, consumer, 2), START_S)
        assert program.stop() == 0
    assert not consumer.missed()
    consumer.assert_right(conn)


def closed(amqp_url: str, consumer: Consumer, epoch: int) -> bool:
    """Say whether a tick is closed, over a connection of its own: a queue takes time to come up."""
    try:
        with changes_consumer.bound(amqp_url, consumer=consumer) as queue:
            return queue.closed(epoch)
    except pika.exceptions.AMQPError:
        return False


@pytest.mark.parametrize("service", ["feed", "notifier"])
def test_a_follower_keeps_its_session_and_its_lock_while_the_broker_takes_nothing(
    own: OwnBroker,
    own_url: str,
    dsn: str,
    conn: psycopg.Connection,
    syncer: Syncer,
    *,
    service: str,
) -> None:
    def asks_after(at: datetime) -> tuple[int, datetime]:
        """Return its session, and when that has asked last, which is after `at`."""
        ((pid, last),) = conn.execute(ASKED, [f"minutebook-{service}"]).fetchall()
        assert last > at
        return pid, last

    add_alert(conn, "change", 1)
    given = {"POSTGRES_DSN": dsn, "RABBITMQ_URL": own_url}
    with programs.running(f"services.{service}", **given) as program:
        eventually(lambda: healthy(program) and follows(conn), START_S)
        with own.alarm():
            add(conn, 1, 5)
            syncer.tick(minute(2))
            eventually(lambda: "takes nothing while its alarm lasts" in program.health()[1])
            # Postgres ends a session that asks nothing for long: its follower may be frozen.
            sessions, at = set(), minute(0)
            for _ in range(4):
                session, at = eventually(partial(asks_after, at))
                sessions.add(session)
        eventually(lambda: follows(conn))
        eventually(lambda: healthy(program))
        assert sessions == {asks_after(minute(0))[0]}
        assert program.stop() == 0


def follows(conn: psycopg.Connection) -> bool:
    """Say whether the one follower that there is has followed the newest tick."""
    query = "SELECT epoch = (SELECT max(epoch) FROM tick) FROM follower"
    return conn.execute(query).fetchone() == (True,)
