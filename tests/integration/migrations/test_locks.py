"""A migration that somebody is in the way of waits without holding up anybody else."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import LiteralString

import psycopg
import pytest
import structlog

from adoption import existing
from migrations import locks, rights, runner
from services.syncer import tick_store
from shared.errors import Refusal
from tests.support import ledger, programs
from tests.support.eventually import eventually

READ: LiteralString = "SELECT 1 FROM tick LIMIT 1"
DELETE: LiteralString = "DELETE FROM historical_transactions"
THEIRS = """
CREATE TABLE initial_data (id int PRIMARY KEY, provider_name text, initial_value int);
CREATE TABLE historical_transactions (
    id serial PRIMARY KEY, provider_id int REFERENCES initial_data, transaction_value int);
INSERT INTO initial_data VALUES (1, 'Visa', 1000)
"""

COLUMNS = """
SELECT attrelid::regclass::text, attname, atttypid::regtype::text
  FROM pg_attribute
 WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
 ORDER BY attrelid, attnum
"""


def with_one_more() -> list[runner.Migration]:
    """Return this release's migrations and one of the next that needs a strong lock."""
    files = runner.read()
    change = "ALTER TABLE tick ADD COLUMN more int"
    return [*files, runner.Migration(len(files) + 1, "more", "1", change)]


@contextlib.contextmanager
def holding(dsn: str, statement: LiteralString) -> Iterator[psycopg.Connection]:
    """Hold a transaction open that did `statement`, as a dump does that reads."""
    with psycopg.connect(dsn, application_name="nightly dump") as holder:
        holder.execute(statement)
        yield holder


@contextlib.contextmanager
def steps(dsn: str, give_up_after_s: float) -> Iterator[locks.Steps]:
    with (
        psycopg.connect(dsn, autocommit=True) as conn,
        psycopg.connect(dsn, autocommit=True) as watch,
    ):
        yield locks.Steps(conn, watch, threading.Event(), give_up_after_s)


@contextlib.contextmanager
def undisturbed(dsn: str) -> Iterator[psycopg.Connection]:
    """Yield a connection on which it is an error to be held up."""
    limit = "-c lock_timeout=10s"
    with psycopg.connect(dsn, autocommit=True, options=limit) as conn:
        yield conn


def test_ticks_go_on_beside_a_migration_that_waits_for_a_reader_and_then_succeeds(
    dsn: str,
) -> None:
    with (
        structlog.testing.capture_logs() as said,
        ThreadPoolExecutor(1) as pool,
        undisturbed(dsn) as conn,
        steps(dsn, 60) as stepping,
        holding(dsn, READ) as reader,
    ):
        provider = ledger.add_provider(conn, "Visa", 1000)
        applying = pool.submit(runner.apply, stepping.conn, with_one_more(), stepping.run)
        while len(said) < 2:  # across two tries and the pauses between them
            ledger.add(conn, provider, 1)
            ledger.count_all(conn)
        assert not applying.done()
        reader.rollback()
        assert [one.name for one in applying.result(60)] == ["more"]
        ledger.count_all(conn)
        ledger.assert_counted_once(conn)


def test_a_migration_that_is_held_up_names_who_is_in_the_way_and_gives_up_with_exit_code_1(
    empty_dsn: str,
) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        runner.apply(conn, runner.read()[:2])
    settings = {"POSTGRES_DSN": empty_dsn, "MIGRATION_LOCK_WAIT_SECONDS": "1"}
    with holding(empty_dsn, DELETE) as writer:
        with programs.running("migrations", **settings) as job:
            assert job.process.wait(60) == 1
            waits, *_, refused = job.lines()
        assert waits["event"] == "migration_waits"
        assert waits["step"] == "migration 3 (count_changes)"
        found = [waits[name] for name in ("pid", "application", "login", "state", "query")]
        pid = writer.info.backend_pid
        assert found == [pid, "nightly dump", "user", "idle in transaction", DELETE]
        assert f"{pid} (nightly dump: {DELETE})" in refused["reason"]
        writer.rollback()
        with programs.running("migrations", **settings) as job:
            assert job.process.wait(60) == 0, job.logs()


def test_a_migration_that_is_told_to_stop_while_it_waits_stops(dsn: str) -> None:
    with holding(dsn, runner.LOCK), programs.running("migrations", POSTGRES_DSN=dsn) as job:
        eventually(lambda: "the lock of another migration" in job.logs())
        assert job.stop() == 1


def migrate(conn: psycopg.Connection, run_step: locks.RunStep) -> None:
    runner.apply(conn, runner.read(), run_step)


def widen(conn: psycopg.Connection, run_step: locks.RunStep) -> None:
    run_step("--widen", partial(existing.widen, conn))


def grant(conn: psycopg.Connection, run_step: locks.RunStep) -> None:
    run_step("rights", partial(rights.grant, conn))


@pytest.mark.parametrize(
    ("applied", "statement", "step", "named"),
    [
        (0, "SELECT 1 FROM historical_transactions", migrate, "adoption"),
        (2, DELETE, migrate, "count_changes"),
        (None, "SELECT 1 FROM historical_transactions", widen, "--widen"),
        (None, tick_store.LOCK, grant, "rights"),
    ],
)
def test_each_step_gives_up_rather_than_hold_up_others(
    applied: int | None,
    statement: LiteralString,
    step: Callable[[psycopg.Connection, locks.RunStep], None],
    named: str,
    empty_dsn: str,
) -> None:
    with steps(empty_dsn, 0) as stepping:
        stepping.conn.execute(THEIRS)
        runner.apply(stepping.conn, runner.read()[:applied])
        before = stepping.conn.execute(COLUMNS).fetchall()
        with (
            holding(empty_dsn, statement),
            pytest.raises(Refusal, match=rf"{named}.*nightly dump"),
        ):
            step(stepping.conn, stepping.run)
        assert stepping.conn.execute(COLUMNS).fetchall() == before
        step(stepping.conn, stepping.run)
