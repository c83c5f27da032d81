"""Two writers on one channel: the second stores full batches in its turn, and nothing else."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from functools import partial

import psycopg
import pytest

from services.ingest import helper as helping
from services.ingest.helper import Helper
from services.ingest.pace import Pace
from services.ingest.writer import TURN_WAIT_S, Writer
from shared import postgres
from shared.errors import Unavailable
from shared.health import Health
from tests.support import messages
from tests.support.eventually import eventually
from tests.support.messages import (
    QUEUE,
    FakeInbox,
    body,
    counted,
    dead_letters,
    judged,
    rows,
    truth,
)

MANY = 10
"""A full batch."""
GATED, GATED_TOO = 1, 2
"""Whoever stores these values waits, each for a gate of its own."""
GATE = """
CREATE FUNCTION their_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.transaction_value <= 2 THEN PERFORM pg_advisory_xact_lock(NEW.transaction_value); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER their_gate BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_gate()
"""
TALLY = """
CREATE TABLE their_tally (provider_id int PRIMARY KEY, n int NOT NULL);
INSERT INTO their_tally VALUES (1, 0), (2, 0);
CREATE FUNCTION their_tally() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE their_tally SET n = n + 1 WHERE provider_id = NEW.provider_id;
    RETURN NEW;
END $$;
CREATE TRIGGER their_tally BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_tally()
"""
SMALL = {"INGEST_BATCH_MAX": str(MANY), "INGEST_PREFETCH": str(3 * MANY)}


@pytest.fixture(autouse=True)
def providers(conn: psycopg.Connection) -> None:
    messages.add_providers(conn)
    conn.execute(GATE)


class Pair:
    """Both writers, and how often they connected."""

    def __init__(self, dsn: str, conn: psycopg.Connection) -> None:
        intake = messages.intake(conn)
        intake.batch_max = MANY
        self.dsn, self.connections, self.open, self.open_most = dsn, 0, 0, 2
        self.backends: list[int] = []
        self.inbox = FakeInbox()
        self.health = Health()
        self.first = Writer(self.connect, intake, Pace(60), self.health, threading.Event())
        self.helper = Helper(self.first)
        self._tag = 0

    @contextlib.contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        self.connections += 1
        if self.open == self.open_most:
            raise Unavailable("postgres", "too many connections")
        self.open += 1
        try:
            with messages.ingest_connection(self.dsn) as conn, postgres.translating():
                self.backends.append(conn.info.backend_pid)
                yield conn
        finally:
            self.open -= 1

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with self.first.running(), self.helper.running():
            self.first.serve(self.inbox)
            yield

    def receive(self, *texts: bytes, identities: dict[int, str] | None = None) -> None:
        """Have messages come, all in one piece; `identities` by their place."""
        for place, text in enumerate(texts):
            self._tag += 1
            identity = (identities or {}).get(place, f"m{self._tag}")
            self.inbox.pending.add(judged(text, identity, tag=self._tag))
        self.inbox.pending.announce()

    def both_at_work(self) -> bool:
        return self.first.in_hand is not None and self.helper.in_hand is not None

    def acknowledged(self) -> int:
        return (self.inbox.acknowledged or [0])[-1]


@pytest.fixture
def pair(dsn: str, conn: psycopg.Connection) -> Iterator[Pair]:
    pair = Pair(dsn, conn)
    with pair.running():
        yield pair


@contextlib.contextmanager
def gate_closed(dsn: str, gate: int = GATED) -> Iterator[psycopg.Connection]:
    """Keep a gate closed while inside, or until what is yielded is rolled back."""
    with psycopg.connect(dsn) as user:
        user.execute("SELECT pg_advisory_xact_lock(%s)", [gate])
        yield user
        user.rollback()


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


def some(start: int, count: int = MANY, provider: int = 1) -> list[bytes]:
    return [body(provider, value) for value in range(start, start + count)]


def values(conn: psycopg.Connection) -> list[int]:
    return sorted(value for _, value in rows(conn))


def pause(seconds: float) -> None:
    threading.Event().wait(seconds)


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


def test_while_the_older_batch_is_stuck_the_younger_is_given_back_and_nothing_is_stored(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    # What was committed and could not be acknowledged would be stored again after a crash, if it
    # has no identity.
    with gate_closed(dsn):
        pair.receive(*some(GATED, 2 * MANY))
        eventually(pair.both_at_work)
        eventually(lambda: pair.helper.in_hand is None)
        pause(TURN_WAIT_S)
        assert pair.helper.in_hand is None, "not again and again"
        assert (rows(conn), pair.inbox.acknowledged) == ([], [])
    eventually(lambda: pair.acknowledged() == 2 * MANY)
    assert rows(conn) == [(1, value) for value in range(1, 2 * MANY + 1)]
    assert pair.first.is_resting()


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
    assert not pair.first.is_resting(), "they did not wait for each other's rows"


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


def test_when_the_channel_is_lost_both_batches_are_left_to_the_broker(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    with gate_closed(dsn):
        pair.receive(*some(GATED, 2 * MANY))
        eventually(pair.both_at_work)
        pair.inbox.pending.open = False
    eventually(pair.inbox.pending.settled)
    assert (rows(conn), pair.inbox.acknowledged) == ([], [])


@pytest.mark.parametrize("comes", ["before", "after"])
def test_one_that_is_refused_alone_gets_company_from_the_younger_batch(
    pair: Pair, dsn: str, conn: psycopg.Connection, comes: str
) -> None:
    # Alone it cannot be told from a Postgres that refuses everything.
    messages.refuse_rows(conn, "P0002", where="NEW.transaction_value = 1")
    with gate_closed(dsn):
        pair.receive(*some(GATED, 1))
        messages.lock_awaited(conn)
        if comes == "before":
            pair.receive(b"{", *some(2, 3 * MANY))
            eventually(pair.both_at_work)
    if comes == "after":
        eventually(lambda: "writer" in pair.health.problems())
        pair.receive(b"{", *some(2, 3 * MANY))
    eventually(lambda: pair.acknowledged() == 2 + 3 * MANY, 30)
    assert values(conn) == list(range(2, 2 + 3 * MANY))
    assert sorted(reason for reason, *_ in dead_letters(conn)) == [
        "not_json",
        "refused_by_database",
    ]


def test_after_two_were_in_each_others_way_there_is_one_writer_for_a_while(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute(TALLY)
    with gate_closed(dsn):
        pair.receive(body(1, 100), body(1, GATED), *some(201, MANY - 2, provider=2))
        messages.lock_awaited(conn)
        pair.receive(*some(301, MANY - 1, provider=2), body(1, 101))
        eventually(pair.both_at_work)
        pause(0.3)  # until it waits for the first
    eventually(lambda: pair.acknowledged() == 2 * MANY, 20)
    assert len(rows(conn)) == 2 * MANY
    assert pair.first.is_resting()
    with gate_closed(dsn):
        pair.receive(body(1, GATED), *some(401, 2 * MANY - 1))
        messages.lock_awaited(conn)
        pause(0.5)
        assert pair.helper.in_hand is None
    eventually(lambda: pair.acknowledged() == 4 * MANY, 20)
    assert counted(conn) == truth(conn)


def test_a_first_writer_that_is_slow_has_no_second_one_beside_it(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    with gate_closed(dsn):
        pair.receive(*some(GATED, 1))
        messages.lock_awaited(conn)
        pause(1.2 * TURN_WAIT_S)
    eventually(lambda: pair.acknowledged() == 1)
    with gate_closed(dsn):
        pair.receive(body(1, GATED), *some(11, 2 * MANY - 1))
        messages.lock_awaited(conn)
        pause(0.5)
        assert (pair.helper.in_hand, pair.first.is_resting()) == (None, False)
    eventually(lambda: pair.acknowledged() == 1 + 2 * MANY)


def test_a_first_writer_that_lost_its_connection_gets_that_of_an_idle_second_one(
    pair: Pair, dsn: str, conn: psycopg.Connection
) -> None:
    with gate_closed(dsn):
        pair.receive(*some(GATED, 2 * MANY))
        eventually(pair.both_at_work)
    eventually(lambda: pair.acknowledged() == 2 * MANY)
    pair.open_most = 1
    conn.execute("SELECT pg_terminate_backend(%s)", [pair.backends[0]])
    pair.receive(*some(101, 1))
    eventually(lambda: pair.acknowledged() == 2 * MANY + 1, 20)


def test_where_no_second_connection_is_to_be_had_the_first_does_it_all_and_is_well(
    pair: Pair, dsn: str
) -> None:
    pair.open_most = 1
    with gate_closed(dsn):
        pair.receive(*some(GATED, 3 * MANY))
        eventually(lambda: pair.connections == 2)
        pause(0.5)
        assert pair.health.problems() == {}
    eventually(lambda: pair.acknowledged() == 3 * MANY)
    assert pair.connections == 2, "not again and again"


def test_the_second_connection_is_closed_when_it_is_not_needed(
    pair: Pair, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helping, "HANG_UP_S", 0.1)
    with gate_closed(dsn):
        pair.receive(*some(GATED, 2 * MANY))
        eventually(pair.both_at_work)
    eventually(lambda: pair.acknowledged() == 2 * MANY)
    eventually(lambda: (pair.connections, pair.open) == (2, 1))


def test_in_trouble_one_batch_at_a_time_is_in_hand(dsn: str, conn: psycopg.Connection) -> None:
    pair = Pair(dsn, conn)  # whose threads are not running
    pair.first.serve(pair.inbox)
    pair.receive(*some(3, 4 * MANY))
    pair.first.in_hand = pair.first.take()
    pair.helper.in_hand = pair.helper.take()
    assert pair.both_at_work()
    assert pair.first.in_hand
    assert pair.helper.in_hand
    older, younger = pair.first.in_hand.batch, pair.helper.in_hand.batch
    pending = pair.inbox.pending
    pending.turns.give_back(younger)
    assert pair.helper.take() is None, "that is for the first to take"
    assert pair.first.take() is None, "once the older one is done"
    pending.turns.give_back(older)
    taken = pair.first.take()
    assert taken
    assert (taken.batch.messages[0].message.tag, pair.helper.take()) == (1, None)
    pending.stored(taken.batch, MANY, pair.inbox.settled)
    assert pair.helper.take(), "the trouble is over"


@pytest.mark.parametrize(("first_opened", "stored"), [(GATED, 2 * MANY), (GATED_TOO, MANY)])
def test_at_sigterm_what_is_in_hand_is_stored_and_acknowledged_or_neither(
    dsn: str, conn: psycopg.Connection, amqp_url: str, first_opened: int, stored: int
) -> None:
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
