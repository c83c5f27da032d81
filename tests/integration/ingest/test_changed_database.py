"""Rights, policies, limits and triggers that change beside a running ingest end nothing."""

import threading
from collections.abc import Iterator, Sequence
from functools import partial

import psycopg
import pytest

from services.ingest import service
from services.ingest.backlog import Backlog
from services.ingest.commit_pacing import CommitPacing
from services.ingest.core import Validated
from services.ingest.writer import Writer
from shared.health import Health
from tests.support import messages, postgres_logins, refusing_trigger
from tests.support.eventually import eventually
from tests.support.messages import FakeChannel, body, counted, dead_letters, rows, truth, validated
from tests.support.programs import Program

PATIENCE_S = 40.0
CHANGES = {
    "policy on initial_data": (
        "ALTER TABLE initial_data ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE initial_data DISABLE ROW LEVEL SECURITY",
        "row-level security",
    ),
    "policy on outbox": (
        "ALTER TABLE outbox ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE outbox DISABLE ROW LEVEL SECURITY",
        "row-level security",
    ),
    "right": (
        "REVOKE INSERT ON outbox FROM minutebook_ingest",
        "SELECT minutebook_grant_rights()",
        "permission denied for table outbox",
    ),
    "table": (
        "ALTER TABLE received_message RENAME TO elsewhere",
        "ALTER TABLE elsewhere RENAME TO received_message",
        "received_message",
    ),
}
SLOW = """
CREATE FUNCTION their_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END $$;
CREATE TRIGGER their_audit BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_audit()
"""
ODD_STATES = ["ZZ999", "P0004", "0A000", "XX001", "54000", "42P01", "58P01"]


def says(program: Program, sentence: str) -> bool:
    return sentence in program.health()[1]


def are_stored(conn: psycopg.Connection, good: int, dead: int | None = None) -> bool:
    return len(rows(conn)) == good and dead in {None, len(dead_letters(conn))}


@pytest.fixture
def login_dsn(dsn: str, conn: psycopg.Connection) -> Iterator[str]:
    """Lead to the database by ingest's own login: policies do not hold for a superuser."""
    postgres_logins.make_logins(conn)
    messages.add_providers(conn)
    try:
        yield postgres_logins.dsn_of("ingest", dsn)
    finally:
        for login in postgres_logins.LOGINS:
            conn.execute(f'DROP ROLE "{login}"'.encode())


def test_what_is_taken_away_from_ingest_is_waited_for_with_postgres_own_sentence(
    login_dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.ingest(login_dsn, amqp_url) as program:
        messages.consuming(program)
        for number, (change, undo, sentence) in enumerate(CHANGES.values()):
            conn.execute(change.encode())
            # The first one needs all that is asked for, even if it is taken alone.
            texts = [body(99, number), body(1, number), body(2, number)]
            messages.publish(amqp_url, *texts, identities=[f"m{number}{one}" for one in "abc"])
            eventually(partial(says, program, sentence), PATIENCE_S)
            assert program.health()[0] == 503
            assert len(rows(conn)) == 2 * number, "nothing is stored otherwise than it should be"
            assert len(dead_letters(conn)) == number
            conn.execute(undo.encode())
            eventually(partial(are_stored, conn, 2 * number + 2), PATIENCE_S)
            eventually(lambda: program.health()[0] == 200, PATIENCE_S)
        messages.queue_drained(program, amqp_url)
    assert {reason for reason, _, _ in dead_letters(conn)} == {"unknown_provider"}
    assert counted(conn) == truth(conn)


def test_a_right_to_write_dead_letters_that_is_taken_away_holds_up_no_good_message(
    login_dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    with messages.ingest(login_dsn, amqp_url, INGEST_PREFETCH="51") as program:
        messages.consuming(program)
        conn.execute("REVOKE INSERT ON dead_letter FROM minutebook_ingest")
        messages.publish(amqp_url, b"{", *(body(1, number) for number in range(50)))
        eventually(lambda: "permission denied for table dead_letter" in program.health()[1])
        # The broker hands these out once it has the acknowledgements of all others but the first.
        named = [f"m{number}" for number in range(50)]
        messages.publish(
            amqp_url, *(body(1, number) for number in range(50, 100)), identities=named
        )
        eventually(lambda: len(rows(conn)) == 100, PATIENCE_S)
        program.kill()
    with messages.ingest(login_dsn, amqp_url) as program:
        messages.publish(amqp_url, *(body(1, number) for number in range(100, 150)))
        eventually(lambda: len(rows(conn)) == 150, PATIENCE_S)
        assert dead_letters(conn) == []
        conn.execute("SELECT minutebook_grant_rights()")
        eventually(lambda: len(dead_letters(conn)) == 1, PATIENCE_S)
        eventually(lambda: program.health()[0] == 200)
        messages.queue_drained(program, amqp_url)
    assert len(rows(conn)) == 150, "what was stored beside it was acknowledged before the kill"
    assert counted(conn) == truth(conn)


def test_a_transaction_timeout_splits_batches_and_waiting_messages_until_all_are_stored(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    if conn.info.server_version < 170000:
        pytest.skip("Postgres has transaction_timeout from version 17 on")
    messages.add_providers(conn)
    conn.execute(SLOW)
    messages.publish(amqp_url, *(body(9, number) for number in range(100)))
    messages.publish(amqp_url, *(body(1, number) for number in range(200)))
    # As with 5 s and 3,000 messages.
    limited = f"{dsn}?options=-c%20transaction_timeout%3D500ms"
    with messages.ingest(limited, amqp_url) as program:
        eventually(lambda: len(rows(conn)) == 200, 2 * PATIENCE_S)
        conn.execute("INSERT INTO initial_data VALUES (9, 'Late', 0)")
        eventually(lambda: len(rows(conn)) == 300, 2 * PATIENCE_S)
        assert '"detail": "25P04' in program.logs()
        eventually(lambda: program.health()[0] == 200, PATIENCE_S)
        messages.queue_drained(program, amqp_url)
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_whatever_state_a_trigger_raises_for_one_message_it_alone_is_refused(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.add_providers(conn)
    with messages.ingest(dsn, amqp_url) as program:
        for number, state in enumerate(ODD_STATES):
            refusing_trigger.create(conn, state, where="NEW.transaction_value = 3")
            messages.publish(amqp_url, *(body(1, value) for value in range(1, 6)))
            eventually(partial(are_stored, conn, 4 * (number + 1), number + 1), PATIENCE_S)
            refusing_trigger.drop(conn)
        messages.queue_drained(program, amqp_url)
    assert counted(conn) == truth(conn)


class Faulty(Writer):
    """Has a bug."""

    def store(
        self, conn: psycopg.Connection, backlog: Backlog, messages: Sequence[Validated]
    ) -> service.Outcome:
        raise ZeroDivisionError


def test_a_writer_that_ends_by_a_bug_is_unhealthy_at_once_and_holds_up_no_stop(
    dsn: str, conn: psycopg.Connection
) -> None:
    channel, health, stop = FakeChannel(), Health(), threading.Event()
    channel.receive(validated(body(), tag=1))
    faulty = Faulty(
        lambda: messages.ingest_connection(dsn),
        messages.rules(conn),
        CommitPacing(60),
        health,
        stop,
    )

    def run() -> None:
        with faulty.running():
            faulty.backlog = channel.backlog
            assert faulty.ended.wait(30), "for which the receiver waits at the end"
            assert health.problems()["thread writer"] == "ended: ZeroDivisionError"

    with pytest.raises(ZeroDivisionError):
        run()
    assert stop.is_set()
