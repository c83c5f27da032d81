"""A message that comes again is a duplicate, whatever a person or a trigger made of its row."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from services.ingest import core, service
from services.syncer import retention
from services.syncer.partitions import Kept
from shared.unfit import Reason
from tests.support import locks, messages, refusing_trigger
from tests.support.messages import body, counted, dead_letters, received, rows, store_batch, truth

pytestmark = pytest.mark.usefixtures("providers")

REWRITE = """
CREATE FUNCTION their_fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.transaction_value := NEW.transaction_value - 1; RETURN NEW; END $$;
CREATE TRIGGER their_fee BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_fee()
"""
CORRECT_AFTERWARDS = """
CREATE FUNCTION their_fee() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE historical_transactions SET transaction_value = transaction_value - 1 WHERE id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER their_fee AFTER INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_fee()
"""
BY_HAND = {
    "value": ("UPDATE historical_transactions SET transaction_value = 700", [(1, 700)]),
    "provider": ("UPDATE historical_transactions SET provider_id = 2", [(2, 600)]),
    "identity": ("UPDATE historical_transactions SET message_id = 'other'", [(1, 600)]),
    "no identity": ("UPDATE historical_transactions SET message_id = NULL", [(1, 600)]),
    "deleted": ("DELETE FROM historical_transactions", []),
    "with its provider": (
        "DELETE FROM historical_transactions; DELETE FROM initial_data WHERE id = 1", [],
    ),
    "put back otherwise": (
        """DELETE FROM historical_transactions;
        INSERT INTO historical_transactions (message_id, provider_id, transaction_value)
        VALUES ('m1', 2, 5)""", [(2, 5)],
    ),
    "corrected twice": (
        """UPDATE historical_transactions SET transaction_value = 700;
        UPDATE historical_transactions SET transaction_value = 800""", [(1, 800)],
    ),
}  # fmt: skip


def once(value: int = 600, identity: str = "m1") -> core.Delivery:
    return received(body(1, value), identity)


def again(value: int = 600, identity: str = "m1") -> core.Delivery:
    return once(value, identity)._replace(redelivered=True)


def ended(outcome: service.Outcome) -> tuple[int, int, dict[Reason, int]]:
    return outcome.inserted, outcome.duplicates, dict(outcome.dead)


@pytest.mark.parametrize("change", BY_HAND)
def test_whose_row_was_changed_by_hand(
    change: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    statement, left = BY_HAND[change]
    store_batch(ours, [once()])
    conn.execute(statement.encode())
    beside = received(body(2, 1), "beside")

    assert ended(store_batch(ours, [again(), beside])) == (1, 1, {})

    assert sorted(rows(ours)) == sorted([*left, (2, 1)])
    assert dead_letters(ours) == []
    assert counted(ours) == truth(ours)


@pytest.mark.parametrize("trigger", [REWRITE, CORRECT_AFTERWARDS], ids=["before", "after"])
def test_whose_row_a_trigger_of_the_users_changed(trigger: str, ours: psycopg.Connection) -> None:
    ours.execute(trigger.encode())

    first = ended(store_batch(ours, [again()]))  # again, but never stored: it must count
    second = ended(store_batch(ours, [again(), once(600, "m1"), again(5, "m2")]))

    assert first == (1, 0, {})
    assert second == (1, 2, {})
    assert sorted(rows(ours)) == [(1, 4), (1, 599)]
    assert dead_letters(ours) == []
    assert counted(ours) == truth(ours)


@pytest.mark.parametrize("trigger", [REWRITE, CORRECT_AFTERWARDS], ids=["before", "after"])
def test_that_waited_and_whose_row_a_trigger_changes_is_a_row_and_no_dead_letter(
    trigger: str, ours: psycopg.Connection
) -> None:
    ours.execute(trigger.encode())
    store_batch(ours, [received(body(9, 600), "m9")])
    ours.execute("INSERT INTO initial_data VALUES (9, 'Late', 0)")

    assert messages.release_parked(ours) == 1

    assert (rows(ours), dead_letters(ours)) == ([(9, 599)], [])
    assert counted(ours) == truth(ours)


def test_other_content_under_the_identity_of_a_corrected_row_is_a_conflict_still(
    ours: psycopg.Connection,
) -> None:
    store_batch(ours, [once()])
    ours.execute("UPDATE historical_transactions SET transaction_value = 700")
    assert ended(store_batch(ours, [again(601)])) == (0, 0, {"id_conflict": 1})


def test_a_producer_that_sends_a_message_again_whose_row_was_deleted_has_it_counted_again(
    ours: psycopg.Connection,
) -> None:
    store_batch(ours, [once()])
    ours.execute("DELETE FROM historical_transactions")
    assert ended(store_batch(ours, [once()])) == (1, 0, {})
    assert rows(ours) == [(1, 600)]


def test_a_dead_letter_that_comes_again_stays_one_though_the_database_would_take_it_now(
    ours: psycopg.Connection,
) -> None:
    refusing_trigger.create(ours, "23514")
    store_batch(ours, [once(), once(5, "m2")])
    refusing_trigger.drop(ours)
    assert ended(store_batch(ours, [again(), again(7, "m3")])) == (1, 1, {})
    assert rows(ours) == [(1, 7)]
    assert len(dead_letters(ours)) == 2


def test_a_deletion_that_is_committed_while_the_message_is_stored_again_stands(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    store_batch(ours, [once()])
    with psycopg.connect(dsn) as user, ThreadPoolExecutor(1) as pool:
        user.execute("DELETE FROM historical_transactions")
        storing = pool.submit(store_batch, ours, [again()])
        locks.awaited(conn)
        user.commit()
        assert ended(storing.result(60)) == (0, 1, {})
    assert rows(ours) == []
    assert counted(ours) == truth(ours)


def test_rows_without_an_identity_of_a_message_leave_no_note_and_any_can_be_deleted(
    conn: psycopg.Connection,
) -> None:
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
        " SELECT 1, 1, CASE n WHEN 1 THEN NULL ELSE repeat(md5('x'), 80) END"
        "   FROM generate_series(1, 2) n"
    )
    conn.execute("UPDATE historical_transactions SET transaction_value = 2")
    conn.execute("DELETE FROM historical_transactions")
    assert conn.execute("SELECT count(*) FROM received_message").fetchone() == (0,)
    assert counted(conn) == truth(conn)


def test_what_was_received_is_forgotten_with_the_outbox_rows_of_its_change(
    ours: psycopg.Connection,
) -> None:
    store_batch(ours, [once(), once(5, "m2")])
    ours.execute("DELETE FROM historical_transactions")
    ours.execute(
        "UPDATE received_message SET noted_at = now() - interval '25 hours' WHERE value = 5"
    )
    assert retention.run_once(ours, Kept(24, 1)).pruned == 1
    assert ours.execute("SELECT message_id FROM received_message").fetchall() == [("m1",)]
