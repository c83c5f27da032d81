"""RabbitMQ stopped, cut off, out of memory or patience: what was unacknowledged is stored once."""

from collections.abc import Iterator
from datetime import datetime

import psycopg
import pytest

from tests.support import locks, messages, outages
from tests.support.eventually import eventually
from tests.support.messages import body, counted, dead_letters, rows, truth
from tests.support.outages import reconnects
from tests.support.own_broker import OwnBroker
from tests.support.programs import Program
from tests.support.readiness import await_broker
from tests.support.tcp_proxy import proxying

pytestmark = pytest.mark.usefixtures("providers")

SIZE, MORE, CUTS = 3000, 500, 4
SMALL = {"INGEST_BATCH_MAX": "50", "INGEST_PREFETCH": "500"}
START_S = 60.0
IMPATIENT = "application:set_env(rabbit, consumer_timeout, 1000)"
LOOKS_OFTEN = "application:set_env(rabbit, channel_tick_interval, 500)"
PATIENT = "application:set_env(rabbit, consumer_timeout, 1800000)"
LOOKS_SELDOM = "application:set_env(rabbit, channel_tick_interval, 60000)"
CLOSE_ALL = 'rabbit_networking:close_connections(rabbit_networking:connections(), "a test")'
"""A channel keeps the patience that it was opened with."""
NOW_MS = "os:system_time(millisecond)"


@pytest.fixture
def amqp_url(own: OwnBroker) -> Iterator[str]:
    """A virtual host of the test's own, on that broker."""
    with own.server.vhost() as url:
        yield url


def publish(
    amqp_url: str, size: int, *, first: int = 1, identities: bool = True, confirmed: bool = False
) -> None:
    """Publish so many messages, of values from `first` on; each `confirmed` one takes its time."""
    values = range(first, first + size)
    texts = [body(1, value) for value in values]
    names = [f"m{value}" for value in values] if identities else []
    messages.publish(amqp_url, *texts, identities=names, confirmed=confirmed)


def each_is_one_row(conn: psycopg.Connection, size: int) -> None:
    assert sorted(rows(conn)) == [(1, number) for number in range(1, size + 1)]
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_a_broker_killed_with_unacknowledged_messages_is_waited_for_and_delivers_them_again(
    own: OwnBroker, dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    publish(amqp_url, MORE, confirmed=True)
    with psycopg.connect(dsn) as user, messages.ingest(dsn, amqp_url, **SMALL) as program:
        eventually(lambda: len(rows(conn)) > 100)
        user.execute("LOCK TABLE historical_transactions")
        # Those before may all be stored by now.
        publish(amqp_url, MORE, first=MORE + 1, confirmed=True)
        locks.awaited(conn, even_by_a_look=True)  # publishing may take longer than a wait
        own.container.kill()
        with outages.afterwards(own.container.start):
            eventually(lambda: reconnects(program) >= 2)
            user.rollback()
            assert program.process.poll() is None
            eventually(lambda: program.health()[0] == 503)
        await_broker(own.container, START_S)
        eventually(lambda: len(rows(conn)) >= 2 * MORE, 60)
        eventually(lambda: program.health()[0] == 200)
        messages.queue_drained(program, amqp_url)
    each_is_one_row(conn, 2 * MORE)


def test_a_connection_cut_in_the_middle_of_a_frame_loses_and_doubles_nothing(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with (
        proxying(amqp_url) as (proxy, cut_url),
        messages.ingest(dsn, cut_url, **SMALL) as program,
    ):
        for cuts in range(CUTS):
            proxy.cut_within(b'{"id": 1, "value"')
            # After that: whatever was received before, this cut finds messages.
            publish(amqp_url, SIZE // CUTS, first=1 + cuts * (SIZE // CUTS))
            eventually(lambda least=cuts + 1: proxy.cuts >= least)  # type: ignore[misc]
        eventually(lambda: len(rows(conn)) >= SIZE, 60)
        assert program.metric('minutebook_reconnects_total{server="postgres"}') == 0
        assert "undecodable" not in program.logs()
        messages.queue_drained(program, amqp_url)
    each_is_one_row(conn, SIZE)


def test_a_batch_unacknowledged_when_the_connection_is_cut_in_a_frame_is_stored_once(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with (
        psycopg.connect(dsn) as user,
        proxying(amqp_url) as (proxy, cut_url),
        messages.ingest(dsn, cut_url) as program,
    ):
        messages.consuming(program)
        user.execute("LOCK TABLE historical_transactions")
        publish(amqp_url, 100)
        locks.awaited(conn)
        proxy.cut_within(b'{"id": 1, "value"')
        messages.publish(amqp_url, body(1, 101), identities=["m101"])
        messages.consuming(program, 2)
        user.rollback()
        eventually(lambda: len(rows(conn)) >= 101)
        messages.queue_drained(program, amqp_url)
    each_is_one_row(conn, 101)


def test_a_broker_out_of_memory_that_blocks_producers_does_not_stop_ingest(
    own: OwnBroker, dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    publish(amqp_url, SIZE)
    with own.alarm(), messages.ingest(dsn, amqp_url, **SMALL) as program:
        eventually(lambda: len(rows(conn)) == SIZE)
        eventually(lambda: program.health()[0] == 200)
        assert reconnects(program) == 0
        assert own.alarmed()
        messages.queue_drained(program, amqp_url)
    each_is_one_row(conn, SIZE)


def consuming_since(program: Program) -> float:
    """Return when the service has begun to consume for the last time, in Unix seconds."""
    *_, newest = (line for line in program.lines() if line["event"] == "consuming")
    return datetime.fromisoformat(newest["timestamp"]).timestamp()


@pytest.mark.parametrize("identities", [True, False], ids=["with_identity", "without"])
@pytest.mark.parametrize("queue_type", ["quorum", "classic"])
def test_a_batch_unacknowledged_when_the_broker_loses_patience_is_stored_once(
    own: OwnBroker, dsn: str, conn: psycopg.Connection, queue_type: str, *, identities: bool
) -> None:
    own.evaluate(IMPATIENT, LOOKS_OFTEN)
    with (
        outages.afterwards(lambda: own.evaluate(PATIENT, LOOKS_SELDOM)),
        own.server.vhost(queue_type=queue_type) as amqp_url,
        psycopg.connect(dsn) as user,
        messages.ingest(dsn, amqp_url) as program,
    ):
        messages.consuming(program)
        user.execute("LOCK TABLE historical_transactions")
        publish(amqp_url, 100, identities=identities)
        locks.awaited(conn)
        eventually(lambda: "the broker closed the channel" in program.logs())
        # From then on each channel is a patient one; those that were not are closed.
        closed_at = int(own.evaluate(PATIENT, CLOSE_ALL, NOW_MS)) / 1000
        eventually(lambda: consuming_since(program) >= closed_at)
        user.rollback()
        eventually(lambda: len(rows(conn)) >= 100)
        messages.queue_drained(program, amqp_url)
    each_is_one_row(conn, 100)
