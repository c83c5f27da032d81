"""Statements against what was really done, and the ticks' own balances."""

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest
import redis

from services.syncer.service import Syncer
from shared.errors import Refusal, Unanswerable
from shared.ledger import statement as ledger_statement
from shared.ledger.statement import NOT_ITEMISED, Movement, Statement, statement
from tests.support import ledger, messages, servers
from tests.support.ledger import add, minute

SINCE_BEFORE = timedelta(days=3)


@pytest.fixture
def syncer(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> Iterator[Syncer]:
    """A syncer that has written the tick of minute 1: Visa has 1000, Mastercard 2000."""
    assert store.dbsize() == 0
    messages.add_providers(conn)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        yield syncer


@contextlib.contextmanager
def asked(
    conn: psycopg.Connection, after: datetime, until: datetime, provider: int = 1
) -> Iterator[Statement]:
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with statement(conn, provider, after, until) as found:
            yield found


def lines(
    conn: psycopg.Connection, after: datetime, until: datetime, provider: int = 1
) -> list[Movement]:
    """Return the movements; fails unless they lead from the opening to the closing balance."""
    with asked(conn, after, until, provider) as found:
        movements = list(found.movements)
    balance = int(found.opening.balance)
    for one in movements:
        balance += int(one.amount)
        assert int(one.balance) == balance
    assert balance == int(found.closing.balance)
    return movements


def said(movements: list[Movement]) -> list[tuple[str, str, int | None]]:
    return [(one.operation, one.amount, one.epoch) for one in movements]


def named(conn: psycopg.Connection, identity: str, value: int, provider: int = 1) -> None:
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
        " VALUES (%s, %s, %s)",
        [provider, value, identity],
    )


def move_to_another_cluster(conn: psycopg.Connection) -> None:
    conn.execute("UPDATE tick SET system_identifier = system_identifier - 1")


def lose_outbox(conn: psycopg.Connection) -> None:
    """Drop all that is counted, as retention does when its time has come."""
    conn.execute(
        "INSERT INTO outbox_dropped (partition, system_identifier, last_xid)"
        " SELECT 'outbox_x', (SELECT system_identifier FROM pg_control_system()), max(xid)"
        " FROM outbox"
    )
    conn.execute("DELETE FROM outbox")


def test_each_movement_is_in_its_tick_with_its_identity_and_what_the_balance_came_to(
    conn: psycopg.Connection, syncer: Syncer
) -> None:
    named(conn, "a", 600)
    named(conn, "nothing", 0)
    named(conn, "of-another", 5, provider=2)
    syncer.tick(minute(2))
    named(conn, "b", -50)
    syncer.tick(minute(3))
    named(conn, "later", 1)
    syncer.tick(minute(4))

    with asked(conn, minute(1), minute(3)) as found:
        assert (found.opening.balance, found.opening.key) == ("1000", "1_Visa")
        assert (found.closing.balance, found.closing.boundary) == ("1550", minute(3))
        movements = list(found.movements)
    assert [(one.message_id, one.amount, one.balance, one.boundary) for one in movements] == [
        ("a", "600", "1600", minute(2)),
        ("nothing", "0", "1600", minute(2)),
        ("b", "-50", "1550", minute(3)),
    ]
    assert lines(conn, minute(3), minute(3)) == []


def test_changes_by_hand_are_lines_of_their_own_and_an_identity_stands_once(
    conn: psycopg.Connection, syncer: Syncer
) -> None:
    named(conn, "a", 600)
    named(conn, "gone", 7)
    syncer.tick(minute(2))
    conn.execute("UPDATE historical_transactions SET transaction_value = 60 WHERE message_id = 'a'")
    conn.execute("DELETE FROM historical_transactions WHERE message_id = 'gone'")
    conn.execute("UPDATE initial_data SET initial_value = 900, provider_name = 'V' WHERE id = 1")
    syncer.tick(minute(3))

    movements = lines(conn, minute(1), minute(3))

    assert said(movements) == [
        ("added", "600", 2), ("added", "7", 2),
        ("modified", "-600", 3), ("modified", "60", 3), ("removed", "-7", 3),
        ("modified", "-1000", 3), ("modified", "900", 3),
    ]  # fmt: skip
    assert [one.message_id for one in movements if one.message_id] == ["a"]
    assert [one.transaction is None for one in movements] == [False] * 5 + [True] * 2


def test_rows_of_interim_ticks_and_of_transactions_that_commit_late_are_in_the_tick_that_counts(
    conn: psycopg.Connection, dsn: str, syncer: Syncer
) -> None:
    with psycopg.connect(dsn) as late:
        add(late, 1, 1)
        add(conn, 1, 20)
        syncer.fold()
        syncer.prepare()
        add(conn, 1, 300)
        syncer.tick(minute(2))
        late.commit()
    add(conn, 1, 4000)
    syncer.tick(minute(3))

    assert [(one.amount, one.boundary) for one in lines(conn, minute(1), minute(3))] == [
        ("20", minute(2)),
        ("300", minute(2)),
        ("1", minute(3)),
        ("4000", minute(3)),
    ]


def test_past_the_outboxs_retention_rows_are_as_they_are_now_and_the_rest_is_said(
    conn: psycopg.Connection, syncer: Syncer
) -> None:
    named(conn, "kept", 600)
    named(conn, "changed", 7)
    named(conn, "deleted", 30)
    syncer.tick(minute(2))
    lose_outbox(conn)
    conn.execute(
        "UPDATE historical_transactions SET transaction_value = 8 WHERE message_id = 'changed'"
    )
    conn.execute("DELETE FROM historical_transactions WHERE message_id = 'deleted'")
    named(conn, "new", 1)
    syncer.tick(minute(3))

    movements = lines(conn, minute(1), minute(3))

    assert said(movements) == [
        ("added", "600", None), ("added", "8", None), (NOT_ITEMISED, "29", 2),
        ("modified", "-7", 3), ("modified", "8", 3), ("removed", "-30", 3), ("added", "1", 3),
    ]  # fmt: skip
    names = [one.message_id for one in movements if one.message_id]
    assert sorted(names) == ["changed", "kept", "new"]


def test_where_the_outbox_begins_a_row_that_the_next_tick_counts_is_one_line_not_two(
    conn: psycopg.Connection, dsn: str, syncer: Syncer
) -> None:
    named(conn, "early", 30)
    with psycopg.connect(dsn) as late:
        named(late, "late", 600)
        syncer.tick(minute(2))
        lose_outbox(conn)
        late.commit()
    syncer.tick(minute(3))

    assert said(lines(conn, minute(1), minute(3))) == [("added", "30", None), ("added", "600", 3)]
    assert said(lines(conn, minute(1), minute(2))) == [("added", "30", None)]


def test_after_a_move_to_another_cluster_what_its_baseline_counts_is_itemised_by_its_rows(
    conn: psycopg.Connection, dsn: str, syncer: Syncer, keydb_server: servers.Keydb
) -> None:
    named(conn, "before", 600)
    syncer.tick(minute(2))
    named(conn, "uncounted", 7)
    move_to_another_cluster(conn)
    with ledger.syncing(dsn, keydb_server.url()) as there:
        there.tick(minute(3))
        named(conn, "after", 1)
        there.tick(minute(4))

    movements = lines(conn, minute(1), minute(4))

    assert [(one.message_id, one.epoch) for one in movements] == [
        ("before", None),
        ("uncounted", None),
        ("after", 4),
    ]


def test_a_time_before_all_ticks_and_a_provider_that_never_was_are_refused(
    conn: psycopg.Connection, syncer: Syncer
) -> None:
    assert syncer.changed == 0
    with pytest.raises(Unanswerable, match="2020-01-01T00:01:00Z"):
        lines(conn, minute(0), minute(1))
    with pytest.raises(Refusal, match="no provider 9"):
        lines(conn, minute(1), minute(1), provider=9)


def test_ticks_that_are_asked_for_by_several_questions_are_all_there_in_their_order(
    conn: psycopg.Connection, syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_statement, "TICKS_AT_ONCE", 2)
    for number in range(2, 7):
        add(conn, 1, number)
        syncer.tick(minute(number))

    expected = [("added", str(number), number) for number in range(2, 7)]
    assert said(lines(conn, minute(1), minute(6))) == expected
