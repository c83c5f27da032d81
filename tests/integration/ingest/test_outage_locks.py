"""Somebody else's locks: a deadlock or a timeout is nobody's fault; the batch is tried again."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.support import locks, messages
from tests.support.eventually import eventually
from tests.support.messages import body, counted, dead_letters, rows, truth
from tests.support.outages import reconnects

pytestmark = pytest.mark.usefixtures("providers")

PATIENCE_S = 60.0
"""Backing off adds up: the pauses between attempts grow to 5 s, at random."""
TIMEOUT_S = 0.2
INSERT = """
INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
VALUES (1, 0, %s)
"""


@pytest.mark.parametrize(
    ("option", "sqlstate"), [("lock_timeout", "55P03"), ("statement_timeout", "57014")]
)
def test_a_lock_held_longer_than_a_timeout_of_the_users_is_waited_for_again_and_again(
    dsn: str, conn: psycopg.Connection, amqp_url: str, option: str, sqlstate: str
) -> None:
    impatient = f"{dsn}?options=-c%20{option}%3D{TIMEOUT_S}s"
    with psycopg.connect(dsn) as user, messages.ingest(impatient, amqp_url) as program:
        messages.consuming(program)
        user.execute("LOCK TABLE historical_transactions")
        began = time.monotonic()
        messages.publish(amqp_url, *(body(1, number) for number in range(100)))
        eventually(lambda: sqlstate in program.health()[1], PATIENCE_S)
        eventually(lambda: program.logs().count(f'"detail": "{sqlstate}') >= 3, PATIENCE_S)
        tries = reconnects(program)
        assert tries <= (time.monotonic() - began) / TIMEOUT_S, "each waits for the lock"
        user.rollback()
        eventually(lambda: len(rows(conn)) == 100, PATIENCE_S)
        eventually(lambda: program.health()[0] == 200, PATIENCE_S)
        assert program.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
        messages.queue_drained(program, amqp_url)
    assert sorted(rows(conn)) == [(1, number) for number in range(100)]
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_a_deadlock_with_somebody_else_is_ended_by_another_try(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    patient = "-c deadlock_timeout=60s"  # so that the one to give way is ingest
    # Before ingest is there: one after the other they could come in two batches.
    messages.publish(amqp_url, body(1, 1), body(1, 2), identities=["m1", "m2"])
    with (
        psycopg.connect(dsn, options=patient) as user,
        ThreadPoolExecutor(1) as pool,
        contextlib.ExitStack() as later,
    ):
        user.execute(INSERT, ["m2"])
        program = later.enter_context(messages.ingest(dsn, amqp_url))
        locks.awaited(conn)
        done = pool.submit(user.execute, INSERT, ["m1"])
        eventually(lambda: "40P01" in program.logs())
        done.result(30)
        user.rollback()
        eventually(lambda: rows(conn) == [(1, 1), (1, 2)])
        assert reconnects(program) == 0
        messages.queue_drained(program, amqp_url)
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)
