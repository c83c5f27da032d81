"""Ticks are overheard before the queue hands them on, and nothing depends on it."""

from collections.abc import Iterator
from datetime import datetime
from functools import partial

import psycopg
import pytest
import structlog
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import ChannelClosedByBroker

from services.syncer.loop import Loop
from services.syncer.service import Syncer
from shared.amqp.ticks import COPIES_PREFIX, EXCHANGE, QUEUE
from shared.health import Health
from tests.support import ledger, servers, syncer_loop
from tests.support.eventually import eventually
from tests.support.syncer_loop import connected, send, turns

NARROW, WIDE = r"^(ticks|syncer\.ticks)$", r"^(ticks|syncer\.ticks.*)$"


@pytest.fixture
def ticker(amqp_url: str) -> Iterator[BlockingChannel]:
    """Whoever publishes ticks, and may do anything."""
    with syncer_loop.ticker(amqp_url) as channel:
        yield channel


@pytest.fixture
def active(
    conn: psycopg.Connection, syncer: Syncer, amqp_url: str, ticker: BlockingChannel
) -> Iterator[Loop]:
    """A syncer to which the queue has given a tick already."""
    with syncer_loop.active(conn, syncer, amqp_url, ticker) as loop:
        yield loop


@pytest.fixture
def standby(active: Loop, dsn: str, amqp_url: str, keydb_server: servers.Keydb) -> Iterator[Loop]:
    """One that consumes from the same queue and is given nothing."""
    with (
        connected(amqp_url) as broker,
        ledger.syncing(dsn, keydb_server.url()) as syncer,
        psycopg.connect(dsn, autocommit=True) as conn,
    ):
        loop = Loop(conn, syncer, broker, Health(), 0.05)
        loop.prepare()
        yield loop


def boundaries(conn: psycopg.Connection) -> list[datetime]:
    found = conn.execute("SELECT boundary FROM tick WHERE boundary IS NOT NULL ORDER BY epoch")
    return [boundary for (boundary,) in found]


def waiting(ticker: BlockingChannel) -> int:
    return ticker.queue_declare(QUEUE, passive=True).method.message_count


def copies(rabbitmq: servers.Rabbitmq, vhost: str) -> list[str]:
    names = (queue["name"] for queue in rabbitmq.manage("GET", f"queues/{vhost}"))
    return [name for name in names if name.startswith(COPIES_PREFIX)]


def test_a_tick_that_comes_as_a_copy_and_by_the_queue_is_one(
    active: Loop, conn: psycopg.Connection, ticker: BlockingChannel
) -> None:
    sent = [ledger.minute(1), ledger.minute(2)]
    for number in (3, 4, 5):
        sent.append(send(ticker, number))
        assert turns(active).count("tick") == 1
    assert boundaries(conn) == sent
    assert waiting(ticker) == 0, "the queue's are acknowledged, too"


def test_ticks_of_two_tickers_for_one_boundary_are_one(
    active: Loop, conn: psycopg.Connection, ticker: BlockingChannel
) -> None:
    sent = [send(ticker, 3, name) for name in ("one", "another")]
    assert turns(active).count("tick") == 1
    assert boundaries(conn)[-1:] == sent[:1]
    assert waiting(ticker) == 0


def test_the_active_syncer_need_not_wait_for_the_queue(
    active: Loop, conn: psycopg.Connection, ticker: BlockingChannel
) -> None:
    ticker.queue_unbind(QUEUE, EXCHANGE)
    sent = send(ticker, 3)
    assert "tick" in turns(active)
    assert boundaries(conn)[-1] == sent


def test_who_stands_by_leaves_ticks_to_the_active_one(
    active: Loop, standby: Loop, conn: psycopg.Connection, ticker: BlockingChannel
) -> None:
    sent = send(ticker, 3)
    assert "tick" not in turns(standby)
    assert sent not in boundaries(conn)
    assert turns(active).count("tick") == 1
    assert sent in boundaries(conn)


@pytest.mark.parametrize("rights", [(NARROW, NARROW, NARROW), (WIDE, WIDE, NARROW)])
def test_where_such_a_queue_is_refused_ticks_come_by_the_other_alone(
    rabbitmq_server: servers.Rabbitmq,
    amqp_url: str,
    ticker: BlockingChannel,
    rights: tuple[str, str, str],
) -> None:
    vhost = amqp_url.rpartition("/")[2]
    given = dict(zip(("configure", "write", "read"), rights, strict=True))
    rabbitmq_server.manage("PUT", f"permissions/{vhost}/syncer", given)
    heard: list[bytes] = []
    with (
        connected(amqp_url.replace("//user:", "//syncer:")) as broker,
        structlog.testing.capture_logs() as logs,
    ):
        broker.declare_queue()
        broker.consume(lambda _tag, body: heard.append(body))
        broker.overhear(heard.append)
        send(ticker, 1)
        for _ in range(20):
            broker.poll(0.1)
    assert [(one["event"], one["log_level"]) for one in logs] == [("no_copies_of_ticks", "warning")]
    assert len(heard) == 1


def test_the_queue_of_copies_is_its_connections_own_and_goes_with_it(
    rabbitmq_server: servers.Rabbitmq, amqp_url: str, ticker: BlockingChannel
) -> None:
    seen = partial(copies, rabbitmq_server, amqp_url.rpartition("/")[2])
    with connected(amqp_url) as broker:
        broker.overhear(lambda _: None)
        (queue,) = eventually(seen)
        with pytest.raises(ChannelClosedByBroker, match="RESOURCE_LOCKED"):
            ticker.queue_declare(queue, passive=True)
    eventually(lambda: not seen())
