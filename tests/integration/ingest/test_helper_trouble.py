"""Two writers in trouble, or in each other's way: there is one, which takes all in hand."""

from collections.abc import Iterator

import psycopg
import pytest

from services.ingest.writer import TURN_WAIT_S
from tests.support import messages, two_writers
from tests.support.eventually import eventually
from tests.support.messages import body, counted, dead_letters, rows, truth
from tests.support.two_writers import GATED, MANY, Pair, gate_closed, pause, some, values

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


@pytest.fixture
def pair(dsn: str, conn: psycopg.Connection) -> Iterator[Pair]:
    with two_writers.pair_at_work(dsn, conn) as pair:
        yield pair


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
    assert pair.first.pace.is_resting()


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
    assert pair.first.pace.is_resting()
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
        assert (pair.helper.in_hand, pair.first.pace.is_resting()) == (None, False)
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


def test_where_no_second_connection_is_to_be_had_the_first_does_it_all_and_is_healthy(
    pair: Pair, dsn: str
) -> None:
    pair.open_most = 1
    with gate_closed(dsn):
        pair.receive(*some(GATED, 3 * MANY))
        eventually(lambda: pair.connections == 2)
        pause(1.5)  # a life that ended is followed by another one within a second
        assert pair.health.problems() == {}
    eventually(lambda: pair.acknowledged() == 3 * MANY)
    assert pair.connections == 2, "not again and again"


def test_in_trouble_one_batch_at_a_time_is_in_hand(dsn: str, conn: psycopg.Connection) -> None:
    two_writers.prepare(conn)
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
    assert (taken.batch.messages[0].delivery.tag, pair.helper.take()) == (1, None)
    pending.stored(taken.batch, MANY, pair.inbox.settled)
    assert pair.helper.take(), "the trouble is over"
