"""Whatever is killed or cut off, every message ends exactly once, and work resumes by itself."""

import signal
import time
from functools import partial

import psycopg
import pytest

from tests.support import locks, messages
from tests.support.eventually import eventually
from tests.support.messages import (
    QUEUE,
    body,
    counted,
    rows,
    truth,
    waiting_in_queue,
)
from tests.support.outages import flowing
from tests.support.programs import STOP_TIMEOUT_S

pytestmark = pytest.mark.usefixtures("providers")

LOT, PER_S = 300, 1000
SMALL_BATCHES = {"INGEST_BATCH_MAX": "20", "INGEST_PREFETCH": "100"}
TERMINATE = """
SELECT count(pg_terminate_backend(pid))
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'minutebook-ingest'
"""


def publish(amqp_url: str, lot: int, *, named: bool = False) -> None:
    """Publish the messages of one lot, the first of which is 0."""
    values = range(lot * LOT + 1, (lot + 1) * LOT + 1)
    names = [f"m{value}" for value in values] if named else []
    messages.publish(amqp_url, *(body(1, value) for value in values), identities=names)


def begun(conn: psycopg.Connection, lot: int) -> None:
    """Wait until something of a lot is stored."""
    eventually(lambda: len(rows(conn)) > lot * LOT)


def all_of(lots: int) -> list[tuple[int, int]]:
    """Return the rows that come of so many lots, each once."""
    return [(1, n) for n in range(1, lots * LOT + 1)]


def test_killed_in_the_middle_of_its_work_it_stores_every_message_exactly_once(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    for lot in range(3):
        with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
            publish(amqp_url, lot, named=True)
            begun(conn, lot)
            program.kill()
    with psycopg.connect(dsn) as user, messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
        messages.consuming(program)
        user.execute("LOCK TABLE historical_transactions")
        publish(amqp_url, 3, named=True)
        locks.awaited(conn)  # this time there is surely a batch under way
        program.kill()
    with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
        eventually(lambda: len(rows(conn)) >= 4 * LOT)
        eventually(lambda: program.metric("minutebook_ingest_redelivered_total") > 0)
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == all_of(4)
    assert counted(conn) == truth(conn)


def test_sigterm_ends_it_with_0_and_what_has_no_identity_is_stored_or_left_never_both(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    sent: list[tuple[int, int]] = []
    for share in (1, 500):
        with messages.ingest(dsn, amqp_url, INGEST_BATCH_MAX="5", INGEST_PREFETCH="50") as program:
            with flowing(amqp_url, PER_S, identities=False) as traffic:
                eventually(lambda least=share: len(rows(conn)) >= least)  # type: ignore[misc]
                assert program.stop() == 0
                stored = rows(conn)
                sent_then = traffic.sent
                eventually(lambda seen=sent_then: traffic.sent > seen)  # type: ignore[misc]
            sent += traffic.rows()
            left = len(sent) - len(stored)
            assert left > 0
            eventually(lambda left=left: waiting_in_queue(amqp_url) == left)  # type: ignore[misc]
            assert rows(conn) == stored
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: len(rows(conn)) >= len(sent))
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == sorted(sent)
    assert counted(conn) == truth(conn)


def test_sigterm_waits_for_the_batch_under_way_and_acknowledges_it(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.channel(amqp_url) as producer:  # only a classic queue forgets a consumer at once
        producer.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
    with psycopg.connect(dsn) as user, messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)  # or what waits for the lock is a look at the tables
        user.execute("LOCK TABLE historical_transactions")
        with messages.channel(amqp_url) as producer:
            producer.basic_publish("", QUEUE, body())
        locks.awaited(conn)
        program.process.send_signal(signal.SIGTERM)
        with messages.channel(amqp_url) as observer:  # it no longer consumes, so it has heard
            state = partial(observer.queue_declare, QUEUE, passive=True)
            eventually(lambda: state().method.consumer_count == 0)
        heard_at = time.monotonic()
        eventually(lambda: time.monotonic() > heard_at + 0.5)  # for longer than one look at it
        user.rollback()
        assert program.process.wait(STOP_TIMEOUT_S) == 0
    assert rows(conn) == [(1, 600)]
    assert waiting_in_queue(amqp_url) == 0


def test_sigterm_while_postgres_is_stuck_ends_it_in_time_and_leaves_the_message(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    impatient = f"{dsn}?options=-c%20lock_timeout%3D500ms"
    with psycopg.connect(dsn) as user, messages.ingest(impatient, amqp_url) as program:
        messages.consuming(program)
        user.execute("LOCK TABLE historical_transactions")
        messages.publish(amqp_url, body())
        locks.awaited(conn)
        assert program.stop() == 0
        user.rollback()
    assert len(rows(conn)) + waiting_in_queue(amqp_url) == 1


def test_connections_to_postgres_cut_under_load_lose_and_double_nothing(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
        for lot in range(5):
            publish(amqp_url, lot)
            begun(conn, lot)
            eventually(lambda: conn.execute(TERMINATE).fetchone() != (0,))
        eventually(lambda: len(rows(conn)) >= 5 * LOT)
        eventually(lambda: program.metric('minutebook_reconnects_total{server="postgres"}') >= 5)
        assert program.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == all_of(5)
    assert counted(conn) == truth(conn)


def test_a_queue_deleted_under_it_is_consumed_again_once_it_is_back(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.ingest(dsn, amqp_url) as program:
        messages.publish(amqp_url, body(1, 1))
        eventually(lambda: rows(conn) == [(1, 1)])
        with messages.channel(amqp_url) as vandal:
            vandal.queue_delete(QUEUE)
        messages.consuming(program, 2)
        messages.publish(amqp_url, body(1, 2))
        eventually(lambda: rows(conn) == [(1, 1), (1, 2)])
        messages.queue_drained(program, amqp_url)


def test_two_replicas_share_the_queue_and_store_every_message_once(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    one = messages.ingest(dsn, amqp_url, **SMALL_BATCHES)
    two = messages.ingest(dsn, amqp_url, **SMALL_BATCHES)
    with one as first, two as second:
        messages.consuming(first)
        messages.consuming(second)
        for lot in range(4):
            publish(amqp_url, lot)
        eventually(lambda: len(rows(conn)) >= 4 * LOT)
        for program in (first, second):  # it counts after the acknowledgement
            eventually(partial(program.metric, "minutebook_ingest_rows_total"))
        assert (first.stop(), second.stop()) == (0, 0)
    assert waiting_in_queue(amqp_url) == 0
    assert sorted(rows(conn)) == all_of(4)
    assert counted(conn) == truth(conn)
