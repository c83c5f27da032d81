"""A commit whose answer was lost may have stored its batch: what became of that stays so."""

import psycopg
import pytest

from services.ingest import backlog
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


def lose_answer(dsn: str, at_work: Writer, to: bytes) -> None:
    """Have the writer store what there is, over a connection that is gone before it hears so."""
    with (
        proxying(dsn) as (proxy, cut_dsn),
        messages.ingest_connection(cut_dsn) as conn,
    ):
        proxy.lose_reply_to(to)
        with pytest.raises(Unavailable):
            at_work.run_once(conn)
        assert proxy.cuts == 1


@pytest.mark.parametrize("named", [True, False], ids=["with_identity", "without"])
def test_a_row_that_was_deleted_since_stays_deleted(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection, *, named: bool
) -> None:
    channel = FakeChannel()
    for tag in (1, 2):
        channel.receive(validated(body(1, tag), f"m{tag}" if named else None, tag=tag))
    at_work = idle_writer(ours, channel)
    lose_answer(dsn, at_work, ONE_STATEMENT if named else COMMIT)
    assert rows(conn) == [(1, 1), (1, 2)]
    conn.execute(DELETE_FIRST)

    at_work.run_once(ours)

    assert (channel.acknowledged, rows(conn)) == ([2], [(1, 2)])
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_a_dead_letter_that_would_be_taken_since_does_not_become_a_row_as_well(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    channel = FakeChannel()
    for tag in (1, 2):
        channel.receive(validated(body(1, tag), f"m{tag}", tag=tag))
    at_work = idle_writer(ours, channel)
    refusing_trigger.create(ours, "P0002", where="NEW.transaction_value = 1")
    lose_answer(dsn, at_work, COMMIT)
    refusing_trigger.drop(ours)

    at_work.run_once(ours)

    assert (channel.acknowledged, rows(conn)) == ([2], [(1, 2)])
    assert messages.reasons(conn) == ["refused_by_database"]


def test_what_another_replica_stored_while_this_one_stood_still_is_left_to_it(
    conn: psycopg.Connection, ours: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen, awake = FakeChannel(), FakeChannel()
    for channel in (frozen, awake):
        channel.receive(validated(body(1, 1), "m1", tag=1))
    frozen.backlog.turn()
    idle_writer(ours, awake).run_once(ours)
    assert rows(conn) == [(1, 1)]
    conn.execute(DELETE_FIRST)

    monkeypatch.setattr(backlog, "STILL_MAX_S", 0.0)
    idle_writer(ours, frozen).run_once(ours)

    assert (frozen.acknowledged, frozen.backlog.open, rows(conn)) == ([], False, [])
    assert counted(conn) == truth(conn)


def test_a_receiver_that_stood_still_for_too_long_leaves_all_to_the_broker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = FakeChannel()
    for _ in range(2):
        channel.backlog.turn()
        assert channel.backlog.open

    monkeypatch.setattr(backlog, "STILL_MAX_S", 0.0)
    channel.backlog.turn()

    assert not channel.backlog.open


def test_what_is_sent_again_on_purpose_counts_again_though_postgres_refuses_it_at_first(
    conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    channel = FakeChannel()
    at_work = idle_writer(ours, channel)
    channel.receive(validated(body(1, 1), "m1", tag=1))
    at_work.run_once(ours)
    conn.execute(DELETE_FIRST)
    channel.receive(validated(body(1, 1), "m1", tag=2))
    refusing_trigger.create(ours, "25006")
    with pytest.raises(Unavailable):
        at_work.run_once(ours)
    refusing_trigger.drop(ours)

    at_work.run_once(ours)

    assert (channel.acknowledged, rows(conn)) == ([1, 2], [(1, 1)])
    assert counted(conn) == truth(conn)


def test_a_deferred_message_is_not_stored_again_after_its_row_was_deleted(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    channel = FakeChannel()
    deferred = channel.backlog.deferred
    deferred.add([validated(body(1, 1), "m1", tag=1)], "for the test")
    at_work = idle_writer(ours, channel)
    deferred.try_soon()
    lose_answer(dsn, at_work, COMMIT)
    assert rows(conn) == [(1, 1)]
    conn.execute(DELETE_FIRST)

    deferred.try_soon()
    at_work.run_once(ours)

    assert (channel.alone, rows(conn)) == ([1], [])
    assert counted(conn) == truth(conn)
