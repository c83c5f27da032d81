"""A COMMIT whose fate nobody knows is sent again, and each message is still one row."""

import psycopg
import pytest

from tests.support import locks, messages
from tests.support.eventually import eventually
from tests.support.messages import body, counted, dead_letters, rows, truth
from tests.support.programs import Program
from tests.support.tcp_proxy import proxying

pytestmark = pytest.mark.usefixtures("providers")

SIZE = 50
CUTS, LOT = 5, 400
# As psycopg sends it; BEGIN has READ COMMITTED in it.
COMMIT = b"COMMIT\x00"
# Where every message has an identity one statement is all there is to a batch.
ONE_STATEMENT = b"ingest: not stored by one statement"
TERMINATE = """
SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'minutebook-ingest'
   AND wait_event_type = 'Lock'
"""


def identities(*, given: bool, size: int = SIZE) -> list[str]:
    """Return an identity for each message, or none at all."""
    return [f"m{number}" for number in range(1, size + 1)] if given else []


def bodies(size: int = SIZE) -> list[bytes]:
    return [body(1, number) for number in range(1, size + 1)]


def each_is_one_row(conn: psycopg.Connection, size: int = SIZE) -> None:
    assert sorted(rows(conn)) == [(1, number) for number in range(1, size + 1)]
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def noted(program: Program) -> tuple[float, float]:
    """Return how many messages it counted as rows and as duplicates: each once, after its ack."""
    rows = program.metric("minutebook_ingest_rows_total")
    return rows, program.metric("minutebook_ingest_duplicates_total")


@pytest.mark.parametrize("given", [True, False], ids=["with_identity", "without"])
@pytest.mark.parametrize("fate", ["done", "lost"])
def test_a_connection_reset_inside_commit_doubles_and_loses_nothing(
    dsn: str, conn: psycopg.Connection, amqp_url: str, fate: str, *, given: bool
) -> None:
    with (
        proxying(dsn) as (proxy, cut_dsn),
        messages.ingest(cut_dsn, amqp_url) as program,
    ):
        messages.consuming(program)
        last = ONE_STATEMENT if given else COMMIT
        (proxy.lose_reply_to if fate == "done" else proxy.lose)(last)
        messages.publish(amqp_url, *bodies(), identities=identities(given=given))
        eventually(lambda: proxy.cuts == 1)
        eventually(lambda: len(rows(conn)) >= SIZE)
        # The one after it comes last: then the batch before it was put away.
        messages.publish(amqp_url, body(1, SIZE + 1))
        eventually(lambda: (1, SIZE + 1) in rows(conn))
        eventually(lambda: sum(noted(program)) == SIZE + 1)
        _, duplicates = noted(program)
        assert (duplicates > 0) == (fate == "done")
        assert program.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
        messages.queue_drained(program, amqp_url)
    each_is_one_row(conn, SIZE + 1)


def test_replies_to_commit_lost_again_and_again_under_load_double_nothing(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    lots = [range(start, start + LOT) for start in range(1, CUTS * LOT, LOT)]
    with (
        proxying(dsn) as (proxy, cut_dsn),
        messages.ingest(cut_dsn, amqp_url, INGEST_BATCH_MAX="50") as program,
    ):
        messages.consuming(program)
        for number, lot in enumerate(lots):
            (proxy.lose if number % 3 == 2 else proxy.lose_reply_to)(COMMIT)
            # After that: whatever was stored before, this cut finds messages.
            messages.publish(amqp_url, *(body(1, value) for value in lot))
            eventually(lambda cuts=number + 1: proxy.cuts == cuts)  # type: ignore[misc]
        eventually(lambda: len(rows(conn)) >= CUTS * LOT)
        messages.queue_drained(program, amqp_url)
    each_is_one_row(conn, CUTS * LOT)


@pytest.mark.parametrize("given", [True, False], ids=["with_identity", "without"])
def test_a_backend_terminated_in_the_middle_of_a_batch_costs_only_another_try(
    dsn: str, conn: psycopg.Connection, amqp_url: str, *, given: bool
) -> None:
    with psycopg.connect(dsn) as user, messages.ingest(dsn, amqp_url) as program:
        messages.consuming(program)
        user.execute("LOCK TABLE historical_transactions")
        messages.publish(amqp_url, *bodies(), identities=identities(given=given))
        for _ in range(3):
            locks.awaited(conn, even_by_a_look=True)
            eventually(lambda: conn.execute(TERMINATE).rowcount == 1)
        locks.awaited(conn, even_by_a_look=True)
        user.rollback()
        eventually(lambda: len(rows(conn)) == SIZE)
        assert program.metric('minutebook_reconnects_total{server="rabbitmq"}') == 0
        messages.queue_drained(program, amqp_url)
    each_is_one_row(conn)
