"""A commit whose answer was lost may have stored its batch: what became of that stays so."""

import psycopg
import pytest

from services.ingest.writer import Writer
from shared.errors import Unavailable
from tests.support import messages, refusing_trigger
from tests.support.messages import (
    FakeChannel,
    body,
    counted,
    dead_letters,
    idle_writer,
    rows,
    truth,
    validated,
)
from tests.support.tcp_proxy import proxying

pytestmark = pytest.mark.usefixtures("providers")

COMMIT = b"COMMIT\x00"
ONE_STATEMENT = b"ingest: not stored by one statement"
DELETE_FIRST = "DELETE FROM historical_transactions WHERE transaction_value = 1"


def lose_answer(dsn: str, writer: Writer, to: bytes) -> None:
    """Have the writer store what there is, over a connection that is gone before it hears so."""
    with (
        proxying(dsn) as (proxy, cut_dsn),
        messages.ingest_connection(cut_dsn) as conn,
    ):
        proxy.lose_reply_to(to)
        with pytest.raises(Unavailable):
            writer.run_once(conn)
        assert proxy.cuts == 1


@pytest.mark.parametrize("named", [True, False], ids=["with_identity", "without"])
def test_a_row_that_was_deleted_since_stays_deleted(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection, *, named: bool
) -> None:
    channel = FakeChannel()
    for tag in (1, 2):
        channel.receive(validated(body(1, tag), f"m{tag}" if named else None, tag=tag))
    writer = idle_writer(ours, channel)
    lose_answer(dsn, writer, ONE_STATEMENT if named else COMMIT)
    assert rows(conn) == [(1, 1), (1, 2)]
    conn.execute(DELETE_FIRST)

    writer.run_once(ours)

    assert (channel.acknowledged, rows(conn)) == ([2], [(1, 2)])
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_a_dead_letter_that_would_be_taken_since_does_not_become_a_row_as_well(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    channel = FakeChannel()
    for tag in (1, 2):
        channel.receive(validated(body(1, tag), f"m{tag}", tag=tag))
    writer = idle_writer(ours, channel)
    refusing_trigger.create(ours, "P0002", where="NEW.transaction_value = 1")
    lose_answer(dsn, writer, COMMIT)
    refusing_trigger.drop(ours)

    writer.run_once(ours)

    assert (channel.acknowledged, rows(conn)) == ([2], [(1, 2)])
    assert messages.reasons(conn) == ["refused_by_database"]


def test_a_deferred_message_is_not_stored_again_after_its_row_was_deleted(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    channel = FakeChannel()
    deferred = channel.backlog.deferred
    deferred.add([validated(body(1, 1), "m1", tag=1)], "for the test")
    writer = idle_writer(ours, channel)
    deferred.try_soon()
    lose_answer(dsn, writer, COMMIT)
    assert rows(conn) == [(1, 1)]
    conn.execute(DELETE_FIRST)

    deferred.try_soon()
    writer.run_once(ours)

    assert (channel.alone, rows(conn)) == ([1], [])
    assert counted(conn) == truth(conn)
