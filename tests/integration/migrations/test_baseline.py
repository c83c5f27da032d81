"""Counting starts at one moment: all before is in the baseline, all after in the outbox."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from migrations import runner
from tests.support.eventually import eventually
from tests.support.messages import counted, rows, truth

CREATE = """
CREATE TABLE initial_data (id int PRIMARY KEY, provider_name text, initial_value int);
CREATE TABLE historical_transactions (
    id serial PRIMARY KEY, provider_id int REFERENCES initial_data, transaction_value int);
INSERT INTO initial_data SELECT n, 'provider ' || n, n * 1000 FROM generate_series(1, 5) n
"""
INSERT = """
INSERT INTO historical_transactions (provider_id, transaction_value)
SELECT 1 + %(n)s %% 5, %(n)s FROM generate_series(1, 3)
"""
UPDATE = """
UPDATE historical_transactions SET transaction_value = %(n)s
 WHERE id = (SELECT max(id) - %(n)s FROM historical_transactions)
"""
DELETE = """
DELETE FROM historical_transactions
 WHERE id = (SELECT max(id) - %(n)s FROM historical_transactions)
"""


@pytest.fixture
def theirs(empty_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(CREATE)
        yield conn


@contextmanager
def hammering(dsn: str, seed: int) -> Iterator[Callable[[], int]]:
    """Write without pause in short transactions, some of them rolled back; yields their number."""
    stop, done = threading.Event(), 0

    def write() -> None:
        nonlocal done
        chance = random.Random(seed)
        with psycopg.connect(dsn) as conn:
            while not stop.is_set():
                for _ in range(chance.randint(1, 3)):
                    statement = chance.choices((INSERT, UPDATE, DELETE), weights=(8, 1, 1))[0]
                    conn.execute(statement, {"n": chance.randint(1, 100)})
                (conn.commit if chance.random() < 0.8 else conn.rollback)()
                done += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: done
    finally:
        stop.set()
        thread.join(60)


def test_the_baseline_is_the_initial_value_and_all_history(theirs: psycopg.Connection) -> None:
    theirs.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value)"
        " VALUES (1, 100), (1, 200), (2, -200), (3, 2147483647), (3, 2147483647)"
    )
    runner.apply(theirs, runner.read())
    balances = theirs.execute(
        "SELECT provider_id, balance::text FROM balance ORDER BY 1"
    ).fetchall()
    assert balances == [(1, "1300"), (2, "1800"), (3, "4294970294"), (4, "4000"), (5, "5000")]
    assert theirs.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    tick = theirs.execute("SELECT epoch, boundary, rows FROM tick").fetchall()
    assert tick == [(0, None, 0)]


def test_a_fresh_database_has_a_baseline_of_nothing(conn: psycopg.Connection) -> None:
    assert conn.execute("SELECT count(*) FROM balance").fetchone() == (0,)
    assert conn.execute("SELECT epoch, boundary FROM tick").fetchall() == [(0, None)]


def test_baseline_and_outbox_are_the_truth_whatever_was_written_meanwhile(
    empty_dsn: str, theirs: psycopg.Connection
) -> None:
    with ExitStack() as stack:
        writers = [stack.enter_context(hammering(empty_dsn, seed)) for seed in range(4)]
        eventually(lambda: all(done() > 20 for done in writers))
        runner.apply(theirs, runner.read())
        migrated_at = [done() for done in writers]
        eventually(lambda: all(w() > n + 20 for w, n in zip(writers, migrated_at, strict=True)))
    assert counted(theirs) == truth(theirs)
    both = "SELECT (SELECT sum(balance) FROM balance) > 15000, EXISTS (SELECT FROM outbox)"
    assert theirs.execute(both).fetchone() == (True, True)


def test_a_transaction_that_is_open_when_the_migration_begins_is_in_the_baseline(
    empty_dsn: str, theirs: psycopg.Connection
) -> None:
    with psycopg.connect(empty_dsn) as writer:
        writer.execute(INSERT, {"n": 5})
        thread = threading.Thread(target=lambda: runner.apply(theirs, runner.read()))
        thread.start()
        with psycopg.connect(empty_dsn, autocommit=True) as observer:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND database IS NOT NULL"
            eventually(lambda: observer.execute(waiting).fetchone() == (1,))
        writer.commit()
        thread.join(60)
    assert len(rows(theirs)) == 3
    assert theirs.execute("SELECT balance FROM balance WHERE provider_id = 1").fetchone() == (1015,)
    assert counted(theirs) == truth(theirs)
