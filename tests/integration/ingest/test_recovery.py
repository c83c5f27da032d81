"""Whatever is killed or cut off, every message ends exactly once, and work resumes by itself."""

import signal
import time
from functools import partial

import psycopg
import pytest

from tests.support import messages
from tests.support.eventually import eventually
from tests.support.messages import (
    QUEUE,
    body,
    counted,
    rows,
    truth,
    waiting_in_queue,
)

pytestmark = pytest.mark.usefixtures("providers")

SMALL_BATCHES = {"INGEST_BATCH_MAX": "20", "INGEST_PREFETCH": "100"}
TERMINATE = """
SELECT count(pg_terminate_backend(pid))
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'minutebook-ingest'
"""


def some_of(size: int) -> tuple[list[bytes], list[str]]:
    """Return bodies of values 1 to `size`, and an identity for each."""
    return [body(1, n) for n in range(1, size + 1)], [f"m{n}" for n in range(1, size + 1)]


def all_of(size: int) -> list[tuple[int, int]]:
    """Return the rows that come of `some_of(size)`, each once."""
    return [(1, n) for n in range(1, size + 1)]


def test_killed_in_the_middle_of_its_work_it_stores_every_message_exactly_once(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    bodies, identities = some_of(900)
    messages.publish(amqp_url, *bodies, identities=identities)
    for share in (1, 300, 600):
        with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
            eventually(lambda least=share: len(rows(conn)) >= least)  # type: ignore[misc]
            program.kill()
    with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
        eventually(lambda: len(rows(conn)) == 900)
        assert program.metric("minutebook_ingest_redelivered_total") > 0
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == all_of(900)
    assert counted(conn) == truth(conn)


def test_sigterm_ends_it_with_0_and_what_has_no_identity_is_stored_or_left_never_both(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    bodies, _ = some_of(3000)
    messages.publish(amqp_url, *bodies)
    for share in (1, 500):
        with messages.ingest(dsn, amqp_url, INGEST_BATCH_MAX="5", INGEST_PREFETCH="50") as program:
            eventually(lambda least=share: len(rows(conn)) >= least)  # type: ignore[misc]
            assert program.stop() == 0
            stored = rows(conn)
            assert share <= len(stored) < 3000
            eventually(lambda seen=stored: len(seen) + waiting_in_queue(amqp_url) == 3000)  # type: ignore[misc]
    with messages.ingest(dsn, amqp_url) as program:
        eventually(lambda: len(rows(conn)) == 3000)
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == all_of(3000)
    assert counted(conn) == truth(conn)


def test_sigterm_waits_for_the_batch_in_hand_and_acknowledges_it(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.channel(amqp_url) as producer:  # only a classic queue forgets a consumer at once
        producer.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
    with psycopg.connect(dsn) as user, messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)  # or what waits for the lock is a look at the tables
        user.execute("LOCK TABLE historical_transactions")
        with messages.channel(amqp_url) as producer:
            producer.basic_publish("", QUEUE, body())
        messages.lock_awaited(conn)
        program.process.send_signal(signal.SIGTERM)
        with messages.channel(amqp_url) as observer:  # it no longer consumes, so it has heard
            state = partial(observer.queue_declare, QUEUE, passive=True)
            eventually(lambda: state().method.consumer_count == 0)
        heard_at = time.monotonic()
        eventually(lambda: time.monotonic() > heard_at + 0.5)  # for longer than one look at it
        user.rollback()
        assert program.process.wait(10) == 0
    assert rows(conn) == [(1, 600)]
    assert waiting_in_queue(amqp_url) == 0


def test_sigterm_while_postgres_is_stuck_ends_it_in_time_and_leaves_the_message(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.publish(amqp_url, body())
    impatient = f"{dsn}?options=-c%20lock_timeout%3D500ms"
    with psycopg.connect(dsn) as user, messages.ingest(impatient, amqp_url) as program:
        user.execute("LOCK TABLE historical_transactions")
        messages.lock_awaited(conn)
        assert program.stop() == 0
        user.rollback()
    assert len(rows(conn)) + waiting_in_queue(amqp_url) == 1


def test_connections_to_postgres_cut_under_load_lose_and_double_nothing(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    bodies, _ = some_of(1200)
    messages.publish(amqp_url, *bodies)
    with messages.ingest(dsn, amqp_url, **SMALL_BATCHES) as program:
        for share in range(0, 1000, 200):
            eventually(lambda least=share: len(rows(conn)) > least)  # type: ignore[misc]
            eventually(lambda: conn.execute(TERMINATE).fetchone() != (0,))
        eventually(lambda: len(rows(conn)) == 1200, 20)
        assert program.metric('minutebook_reconnects_total{server="postgres"}') >= 5
        assert program.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == all_of(1200)
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
    bodies, _ = some_of(1000)
    one = messages.ingest(dsn, amqp_url, **SMALL_BATCHES)
    two = messages.ingest(dsn, amqp_url, **SMALL_BATCHES)
    with one as first, two as second:
        messages.consuming(first)
        messages.consuming(second)
        messages.publish(amqp_url, *bodies)
        eventually(lambda: len(rows(conn)) == 1000)
        assert min(one.metric("minutebook_ingest_rows_total") for one in (first, second)) > 0
        assert (first.stop(), second.stop()) == (0, 0)
    assert waiting_in_queue(amqp_url) == 0
    assert sorted(rows(conn)) == all_of(1000)
    assert counted(conn) == truth(conn)
