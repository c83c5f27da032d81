"""What others do to the tables under load: providers that go and come, ids that are taken."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import pytest

from services.ingest import service
from tests.support import locks, messages
from tests.support.eventually import eventually
from tests.support.messages import body, counted, dead_letters, reasons, received, rows, truth
from tests.support.outages import flowing

pytestmark = pytest.mark.usefixtures("providers")

PER_S = 1000
NO_KEY = """
ALTER TABLE historical_transactions DROP CONSTRAINT historical_transactions_provider_id_fkey
"""
ADD = "INSERT INTO initial_data VALUES (1, 'Visa', 1000)"
LOAD_AHEAD = """
INSERT INTO historical_transactions (id, provider_id, transaction_value)
SELECT newest + 100 + n, 2, n
  FROM (SELECT coalesce(max(id), 0) AS newest FROM historical_transactions) AS h,
       generate_series(1, 300) AS n
"""
# Waits in the middle of its statement, after that has seen which providers there are.
WAIT_IN_STATEMENT = """
CREATE FUNCTION their_wait() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4711);
    RETURN NEW;
END $$;
CREATE TRIGGER their_wait BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_wait()
"""


def remove_visa(conn: psycopg.Connection) -> int:
    """Remove the provider and all it has, as a person would; returns how many rows went."""
    while True:
        try:
            with conn.transaction():
                gone = conn.execute("DELETE FROM historical_transactions WHERE provider_id = 1")
                conn.execute("DELETE FROM initial_data WHERE id = 1")
        except (psycopg.errors.ForeignKeyViolation, psycopg.errors.DeadlockDetected):
            continue  # a message came in between
        return gone.rowcount


@pytest.mark.parametrize("key", [True, False], ids=["with_foreign_key", "without"])
def test_a_provider_that_goes_and_comes_under_load_costs_no_message(
    dsn: str, conn: psycopg.Connection, amqp_url: str, *, key: bool
) -> None:
    if not key:
        conn.execute(NO_KEY)
    removed = 0
    with messages.ingest(dsn, amqp_url) as program:
        with flowing(amqp_url, PER_S) as traffic:
            for _ in range(8):
                eventually(lambda: len(rows(conn)) > 50)
                removed += remove_visa(conn)
                eventually(lambda: "waiting" in {state for _, state, _ in dead_letters(conn)})
                conn.execute(ADD)
        eventually(lambda: removed + len(rows(conn)) + len(dead_letters(conn)) >= traffic.sent)
        eventually(lambda: "unknown_provider" not in reasons(conn))
        assert reasons(conn) == []
        messages.queue_drained(program, amqp_url)
    assert removed + len(rows(conn)) == traffic.sent
    assert len(set(rows(conn))) == len(rows(conn))
    assert counted(conn) == truth(conn)


def test_a_provider_deleted_again_while_a_batch_is_bisected_makes_its_message_wait(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    conn.execute(WAIT_IN_STATEMENT)
    outcomes: list[service.Outcome] = []
    batch = [received(body(1), tag=1)]
    thread = threading.Thread(target=lambda: outcomes.append(messages.store_batch(ours, batch)))
    with psycopg.connect(dsn) as user, ThreadPoolExecutor(1) as pool:
        conn.execute("SELECT pg_advisory_lock(4711)")
        thread.start()
        locks.awaited(conn)
        remove_visa(conn)
        # The first try fails for its foreign key; the second waits for this lock to begin.
        locked = pool.submit(user.execute, "LOCK TABLE historical_transactions IN SHARE MODE")
        eventually(lambda: waiting_for_locks(conn) == 2)
        conn.execute("SELECT pg_advisory_unlock(4711)")
        locked.result(30)
        conn.execute("SELECT pg_advisory_lock(4711)")
        conn.execute(ADD)
        user.rollback()
        eventually(lambda: advisory_awaited(conn))
        conn.execute("DELETE FROM initial_data WHERE id = 1")
        conn.execute("SELECT pg_advisory_unlock(4711)")
    thread.join(30)
    assert dead_letters(conn) == [("unknown_provider", "waiting", body(1))]
    assert [outcome.dead for outcome in outcomes] == [{"unknown_provider": 1}]


def test_a_provider_deleted_while_its_messages_are_released_leaves_them_parked(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    messages.store_batch(ours, [received(body(99, tag), tag=tag) for tag in (1, 2, 3)])
    conn.execute("INSERT INTO initial_data VALUES (99, 'Late', 0)")
    with psycopg.connect(dsn) as user, ThreadPoolExecutor(1) as pool:
        user.execute("DELETE FROM initial_data WHERE id = 99")
        released = pool.submit(messages.release_parked, ours)
        locks.awaited(conn)
        user.commit()
        assert released.result(30) == 0
    assert {(reason, state) for reason, state, _ in dead_letters(conn)} == {
        ("unknown_provider", "waiting")
    }
    conn.execute("INSERT INTO initial_data VALUES (99, 'Late', 0)")
    assert messages.release_parked(ours) == 3


def test_a_provider_that_goes_and_comes_while_its_messages_are_released_leaves_them_parked(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    messages.store_batch(ours, [received(body(99, tag), tag=tag) for tag in (1, 2, 3)])
    conn.execute("INSERT INTO initial_data VALUES (99, 'Late', 0)")
    with (
        psycopg.connect(dsn) as before,
        psycopg.connect(dsn) as after,
        ThreadPoolExecutor(1) as pool,
    ):
        before.execute("LOCK TABLE historical_transactions IN SHARE MODE")
        after.execute("LOCK TABLE dead_letter IN SHARE MODE")
        released = pool.submit(messages.release_parked, ours)
        eventually(lambda: awaited_table(conn) == "historical_transactions")
        conn.execute("DELETE FROM initial_data WHERE id = 99")
        before.rollback()
        eventually(lambda: awaited_table(conn) == "dead_letter")
        conn.execute("INSERT INTO initial_data VALUES (99, 'Late', 0)")
        after.rollback()
        assert released.result(30) == 0
    assert reasons(conn) == ["unknown_provider"] * 3
    assert messages.release_parked(ours) == 3


def awaited_table(conn: psycopg.Connection) -> str | None:
    """Return which table somebody waits to lock."""
    found = conn.execute(
        "SELECT relation::regclass::text FROM pg_locks"
        " WHERE NOT granted AND locktype = 'relation'"
        "   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return found[0] if found else None


def waiting_for_locks(conn: psycopg.Connection) -> int:
    found = conn.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return int(found[0]) if found else 0


def advisory_awaited(conn: psycopg.Connection) -> bool:
    query = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return conn.execute(query).fetchone() == (True,)


def test_ids_loaded_ahead_of_the_sequence_under_load_of_two_replicas_cost_no_message(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    loads = 8
    small = {"INGEST_BATCH_MAX": "50", "INGEST_PREFETCH": "200"}
    with (
        messages.ingest(dsn, amqp_url, **small) as one,
        messages.ingest(dsn, amqp_url, **small) as two,
    ):
        messages.consuming(one)
        messages.consuming(two)
        with flowing(amqp_url, PER_S) as traffic:
            for load in range(loads):
                said = ids_clashed(one.logs(), two.logs())
                conn.execute(LOAD_AHEAD)
                eventually(lambda least=said: ids_clashed(one.logs(), two.logs()) > least)  # type: ignore[misc]
                eventually(lambda least=load: len(rows(conn)) > (least + 1) * 400)  # type: ignore[misc]
        eventually(lambda: len(rows(conn)) >= traffic.sent + loads * 300)
        for found in (one, two):  # it counts after the acknowledgement
            eventually(partial(found.metric, "minutebook_ingest_rows_total"))
        messages.queue_drained(one, amqp_url)
        messages.queue_drained(two, amqp_url)
    assert sorted(row for row in rows(conn) if row[0] == 1) == traffic.rows()
    assert len(rows(conn)) == traffic.sent + loads * 300
    assert dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def ids_clashed(*logs: str) -> int:
    """Return how often the programs have said that an id was taken."""
    return sum(text.count("new ids of historical_transactions clash") for text in logs)
