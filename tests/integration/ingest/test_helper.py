"""Two writers on one channel: the second stores full batches in its turn, and nothing else."""

import signal
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from services.ingest import helper as helping
from services.ingest.writer import TURN_WAIT_S
from tests.support import messages, two_writers
from tests.support.eventually import eventually
from tests.support.messages import QUEUE, body, counted, dead_letters, rows, truth
from tests.support.two_writers import (
    GATED,
    GATED_TOO,
    MANY,
    Pair,
    gate_closed,
    pause,
    some,
    values,
)

SMALL = {"INGEST_BATCH_MAX": str(MANY), "INGEST_PREFETCH": str(3 * MANY)}


@pytest.fixture
def pair(dsn: str, conn: psycopg.Connection) -> Iterator[Pair]:
    with two_writers.pair_at_work(dsn, conn) as pair:
        yield pair


def waiting_at_gates(conn: psycopg.Connection) -> int:
    query = """
    SELECT count(*)
      FROM pg_locks
     WHERE locktype = 'advisory' AND NOT granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    """
    found = conn.execute(query).fetchone()
    return found[0] if found else 0


def is_anybody_in_a_transaction_and_idle(conn: psycopg.Connection) -> bool:
    query = """
    SELECT count(*) > 0
      FROM pg_stat_activity
     WHERE datname = current_database() AND state = 'idle in transaction' AND xact_start < now()
       AND query LIKE '%received_message%'
    """
    return conn.execute(query).fetchone() == (True,)


def test_a_full_batch_is_stored_beside_the_first_and_committed_after_it(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    with gate_closed(dsn):
        pair.receive(*some(GATED, 2 * MANY))
        eventually(lambda: is_anybody_in_a_transaction_and_idle(conn))
        assert (rows(conn), pair.inbox.acknowledged) == ([], [])
    eventually(lambda: pair.acknowledged() == 2 * MANY)
    assert pair.inbox.acknowledged == [MANY, 2 * MANY]
    assert values(conn) == list(range(1, 2 * MANY + 1))
    assert counted(conn) == truth(conn)


def test_less_than_a_full_batch_is_left_to_the_first_and_no_second_connection_is_made(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    with gate_closed(dsn):
        pair.receive(*some(GATED, 1))
        messages.lock_awaited(conn)
        pair.receive(*some(2, MANY - 1))
        pause(0.5)
        assert (rows(conn), pair.helper.in_hand) == ([], None)
    eventually(lambda: pair.acknowledged() == MANY)
    assert pair.connections == 1


def test_of_two_messages_with_one_identity_the_first_that_came_is_the_transaction(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    with gate_closed(dsn):
        pair.receive(*some(GATED), identities={MANY - 1: "twice"})
        messages.lock_awaited(conn)
        pair.receive(*some(100), identities={0: "twice"})
        eventually(pair.both_at_work)
        pause(0.2)
    eventually(lambda: pair.acknowledged() == 2 * MANY)
    assert values(conn) == [*range(1, MANY + 1), *range(101, 100 + MANY)]
    assert [reason for reason, *_ in dead_letters(conn)] == ["id_conflict"]
    assert not pair.first.pace.is_resting(), "they did not wait for each other's rows"


def test_letters_that_wait_for_a_provider_keep_the_order_in_which_they_came(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    with gate_closed(dsn):
        pair.receive(*some(GATED, 1), *some(11, MANY - 1, provider=9))
        messages.lock_awaited(conn)
        pair.receive(*some(21, MANY, provider=9))
        eventually(pair.both_at_work)
        pause(0.2)
    eventually(lambda: pair.acknowledged() == 2 * MANY)
    expected = some(11, MANY - 1, provider=9) + some(21, MANY, provider=9)
    assert [text for _, _, text in dead_letters(conn)] == expected


def test_the_second_connection_is_closed_when_it_is_not_needed(
    pair: Pair, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helping, "HANG_UP_S", 0.1)
    with gate_closed(dsn):
        pair.receive(*some(GATED, 2 * MANY))
        eventually(pair.both_at_work)
    eventually(lambda: pair.acknowledged() == 2 * MANY)
    eventually(lambda: (pair.connections, pair.open) == (2, 1))


@pytest.mark.parametrize(("first_opened", "stored"), [(GATED, 2 * MANY), (GATED_TOO, MANY)])
def test_at_sigterm_what_is_in_hand_is_stored_and_acknowledged_or_neither(
    dsn: str, conn: psycopg.Connection, amqp_url: str, first_opened: int, stored: int
) -> None:
    two_writers.prepare(conn)
    # Without identities: what is stored and not acknowledged would be stored again.
    texts = [body(1, GATED), *some(11, MANY - 1), body(1, GATED_TOO), *some(21, 3 * MANY)]
    with messages.channel(amqp_url) as producer:  # only a classic queue forgets a consumer at once
        producer.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "classic"})
        for text in texts:
            producer.basic_publish("", QUEUE, text)
    with (
        gate_closed(dsn) as gate,
        gate_closed(dsn, GATED_TOO) as other_gate,
        messages.ingest(dsn, amqp_url, **SMALL) as program,
    ):
        eventually(lambda: waiting_at_gates(conn) == 2)
        program.process.send_signal(signal.SIGTERM)
        with messages.channel(amqp_url) as observer:
            state = partial(observer.queue_declare, QUEUE, passive=True)
            eventually(lambda: state().method.consumer_count == 0)
        gates = [gate, other_gate]
        for opened in gates if first_opened == GATED else gates[::-1]:
            assert program.process.poll() is None
            opened.rollback()
            pause(1.5 * TURN_WAIT_S)  # the younger batch waits for no longer
        assert program.process.wait(10) == 0
    assert len(rows(conn)) == stored
    assert messages.waiting_in_queue(amqp_url) == len(texts) - stored
