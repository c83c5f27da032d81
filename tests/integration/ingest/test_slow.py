"""A trigger that is too slow for a full batch: smaller ones are stored, and nothing is refused."""

import contextlib
import threading
from functools import partial

import psycopg
import pytest

from services.ingest.parked import Releaser
from shared.errors import Unavailable
from shared.health import Health
from tests.support import messages
from tests.support.eventually import eventually
from tests.support.messages import FakeChannel, body, counted, dead_letters, rows, truth, validated

SLOW = """
CREATE FUNCTION their_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$;
CREATE TRIGGER their_audit BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_audit()
"""
IMPATIENT = "SET statement_timeout = '300ms'"
MESSAGES = 100


@pytest.fixture(autouse=True)
def slow_trigger(conn: psycopg.Connection) -> None:
    messages.add_providers(conn)
    conn.execute(SLOW)


def test_a_batch_too_slow_for_the_statement_timeout_is_stored_in_parts_in_order(
    dsn: str, conn: psycopg.Connection
) -> None:
    channel = FakeChannel()
    channel.receive(*(validated(body(1, number), tag=number) for number in range(1, MESSAGES + 1)))
    with messages.ingest_connection(dsn) as ours:
        ours.execute(IMPATIENT)
        writer = messages.idle_writer(ours, channel)
        while channel.acknowledged[-1:] != [MESSAGES]:
            with contextlib.suppress(Unavailable):
                writer.run_once(ours)
            assert channel.acknowledged == sorted(channel.acknowledged)
            assert len(rows(conn)) == (channel.acknowledged or [0])[-1], "acknowledged is stored"
    assert rows(conn) == [(1, number) for number in range(1, MESSAGES + 1)]
    assert channel.backlog.unacknowledged() == 0
    assert dead_letters(conn) == []


def test_parked_messages_too_many_for_the_statement_timeout_are_released_in_parts(
    dsn: str, conn: psycopg.Connection
) -> None:
    with messages.ingest_connection(dsn) as ours:
        batch = [messages.received(body(9, number), tag=number) for number in range(30)]
        assert messages.store_batch(ours, batch).dead == {"unknown_provider": 30}
        conn.execute("INSERT INTO initial_data VALUES (9, 'Late', 0)")
        ours.execute(IMPATIENT)
        unused = partial(pytest.fail, "the test brings its own connection")
        releaser = Releaser(unused, messages.rules(ours), Health(), threading.Event())
        while len(rows(conn)) < 30:
            with contextlib.suppress(Unavailable):
                releaser.run_once(ours)
    assert rows(conn) == [(9, number) for number in range(30)]
    assert dead_letters(conn) == []


def test_the_service_comes_through_by_itself_and_says_why_it_is_slow(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.publish(amqp_url, *(body(1, number) for number in range(MESSAGES)))
    impatient = f"{dsn}?options=-c%20statement_timeout%3D300ms"
    with messages.ingest(impatient, amqp_url) as program:
        eventually(lambda: len(rows(conn)) == MESSAGES, 60)
        assert '"event": "batch_split"' in program.logs()
        assert program.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == [(1, number) for number in range(MESSAGES)]
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)
