"""Tables that would lose transactions, or store none, are refused with the reason, at any time."""

import contextlib
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from adoption import checks
from migrations import runner
from services.ingest.writer import STATEMENTS
from services.syncer import publish_store, tick_store
from shared.errors import Refusal, Unavailable
from tests.support import ledger, messages, ops_tool, postgres_logins, programs, servers
from tests.support.eventually import eventually
from tests.support.messages import (
    body,
    counted,
    dead_letters,
    ingest_connection,
    received,
    rows,
    store_batch,
    truth,
)
from tests.support.table_changes import HARMLESS, NOT_ADOPTED, THEIR_TABLES, UNFIT, USELESS

SYNCERS = tick_store.STATEMENTS + publish_store.STATEMENTS
LOGINS = {"ingest": STATEMENTS, "syncer": SYNCERS}
TAKEN_AWAY: dict[str, tuple[str, LiteralString]] = {
    "ingest": ("ingest", "REVOKE INSERT (amount) ON outbox FROM minutebook_ingest"),
    "ingest, a function": (
        "ingest",
        "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM minutebook_ingest",
    ),
    "ingest, by a policy": (
        "ingest",
        "ALTER TABLE historical_transactions ENABLE ROW LEVEL SECURITY",
    ),
    "syncer": ("syncer", "REVOKE SELECT ON tick FROM minutebook_syncer"),
    "syncer, by a policy": ("syncer", "ALTER TABLE outbox ENABLE ROW LEVEL SECURITY"),
}


@pytest.fixture
def theirs(empty_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(THEIR_TABLES)
        yield conn


@pytest.fixture(scope="module")
def database(postgres_server: servers.Postgres) -> Iterator[psycopg.Connection]:
    """An empty database for all that is taken back."""
    with (
        postgres_server.database("template0") as dsn,
        psycopg.connect(dsn, autocommit=True) as conn,
    ):
        yield conn


@pytest.fixture
def undone(database: psycopg.Connection) -> Iterator[psycopg.Connection]:
    with database.transaction(force_rollback=True):
        database.execute(THEIR_TABLES)
        yield database


@pytest.fixture(scope="module")
def migrated(postgres_server: servers.Postgres) -> Iterator[psycopg.Connection]:
    with postgres_server.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        yield conn


def tables(conn: psycopg.Connection) -> list[tuple[str, str]]:
    columns = (
        "SELECT attrelid::regclass::text, attname FROM pg_attribute"
        " WHERE attrelid > 16384 AND attrelid::regclass::text !~ '^pg_toast' ORDER BY 1, 2"
    )
    return conn.execute(columns).fetchall()


@pytest.mark.parametrize("change", NOT_ADOPTED)
def test_tables_that_would_lose_or_refuse_transactions_are_not_adopted(
    change: str, undone: psycopg.Connection
) -> None:
    statement, text = NOT_ADOPTED[change]
    undone.execute(statement)
    before = tables(undone)
    with pytest.raises((Refusal, psycopg.errors.RaiseException)) as caught:
        runner.apply(undone, runner.read())
    assert text in str(caught.value)
    assert tables(undone) == before


@pytest.mark.parametrize("change", UNFIT)
def test_ingest_stores_nothing_into_tables_that_became_so_and_the_syncer_goes_on(
    change: str, migrated: psycopg.Connection
) -> None:
    statement, text = UNFIT[change]
    with migrated.transaction(force_rollback=True):
        migrated.execute(statement)
        checks.check(migrated, SYNCERS)
        with pytest.raises(Unavailable) as caught:
            checks.check(migrated, STATEMENTS, stores=True)
        assert text in str(caught.value)


@pytest.mark.parametrize("what", USELESS)
def test_beside_a_unique_index_that_is_of_no_use_comes_one_of_ours(
    what: str, theirs: psycopg.Connection, empty_dsn: str
) -> None:
    for statement in USELESS[what]:
        with contextlib.suppress(psycopg.errors.UniqueViolation):
            theirs.execute(statement)
    runner.apply(theirs, runner.read())
    with ingest_connection(empty_dsn) as conn:
        checks.check(conn, STATEMENTS, stores=True)
        twice = [received(body(1, 600), "PAY-1"), received(body(2, 5), "pay-1", tag=2)]
        assert store_batch(conn, twice).inserted == 2
        assert store_batch(conn, twice).duplicates == 2
    assert counted(theirs) == truth(theirs) == {1: 1900, 2: 1805}
    assert dead_letters(theirs) == []


@pytest.mark.parametrize("what", HARMLESS)
def test_what_is_no_harm_is_adopted_and_the_trial_leaves_no_trace(
    what: str, theirs: psycopg.Connection, empty_dsn: str
) -> None:
    theirs.execute(HARMLESS[what])
    before = rows(theirs)
    runner.apply(theirs, runner.read())
    assert rows(theirs) == before
    assert theirs.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    with ingest_connection(empty_dsn) as conn:
        checks.check(conn, STATEMENTS, stores=True)
        assert store_batch(conn, [received(body(1, 600), "PAY-1")]).inserted == 1
    newest = "SELECT max(h.id), max(o.id) FROM historical_transactions h, outbox o"
    assert theirs.execute(newest).fetchone() == (4, 1)
    if "foreign key" in what:
        theirs.execute("DELETE FROM initial_data WHERE id = 1")
    assert counted(theirs) == truth(theirs)


def test_an_empty_database_is_tried_too_and_begins_with_the_first_ids(
    dsn: str, conn: psycopg.Connection
) -> None:
    assert conn.execute("SELECT count(*) FROM initial_data").fetchone() == (0,)
    assert ledger.add_provider(conn, "Visa", 1000) == 1
    with ingest_connection(dsn) as ours:
        store_batch(ours, [received(body(1, 600), "a")])
    assert conn.execute("SELECT max(id) FROM historical_transactions").fetchone() == (1,)


@pytest.fixture
def logins(conn: psycopg.Connection) -> Iterator[None]:
    postgres_logins.make_logins(conn)
    yield
    for login in postgres_logins.LOGINS:
        conn.execute(f'DROP ROLE "{login}"')


@pytest.mark.parametrize("what", TAKEN_AWAY)
def test_a_login_that_may_not_do_its_work_says_so_and_one_that_may_changes_nothing(
    what: str, dsn: str, conn: psycopg.Connection, logins: None
) -> None:
    login, statement = TAKEN_AWAY[what]
    spent = "SELECT string_agg(coalesce(last_value, 0)::text, ' ') FROM pg_sequences"
    before = conn.execute(spent).fetchone()
    options = "-c row_security=off"
    with psycopg.connect(
        postgres_logins.dsn_of(login, dsn), autocommit=True, options=options
    ) as ours:
        checks.check(ours, LOGINS[login], stores=login == "ingest")
        conn.execute(statement)
        with pytest.raises(Unavailable, match="refuses what this login has to do: 42501"):
            checks.check(ours, LOGINS[login], stores=login == "ingest")
    assert conn.execute(spent).fetchone() == before


def test_a_table_that_a_login_finds_first_in_another_schema_is_not_taken_for_ours(
    migrated: psycopg.Connection,
) -> None:
    with migrated.transaction(force_rollback=True):
        migrated.execute("CREATE TEMP TABLE historical_transactions (LIKE historical_transactions)")
        with pytest.raises(Unavailable, match="found in several schemas"):
            checks.check(migrated, STATEMENTS, stores=True)


def test_a_migration_that_has_nothing_to_do_still_says_what_is_wrong(
    dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute("ALTER TABLE historical_transactions SET UNLOGGED")
    with programs.running("migrations", POSTGRES_DSN=dsn) as job:
        assert job.process.wait(60) == 1
        assert "ALTER TABLE historical_transactions SET LOGGED" in job.logs()


def test_dead_letters_are_not_replayed_into_tables_that_could_lose_them(
    dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute("ALTER TABLE historical_transactions SET UNLOGGED")
    refused = ops_tool.deployment(dsn)("dead-letters", "replay", "--all")
    assert (refused.code, "is UNLOGGED" in refused.stderr) == (1, True)


def test_ingest_waits_with_the_reason_until_the_table_is_mended_and_then_stores(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    messages.add_providers(conn)
    messages.publish(amqp_url, body(77, 5))
    with messages.ingest(dsn, amqp_url):
        eventually(lambda: len(dead_letters(conn)) == 1)
    conn.execute("ALTER TABLE historical_transactions SET UNLOGGED")
    conn.execute("INSERT INTO initial_data VALUES (77, 'Late', 0)")
    messages.publish(amqp_url, body(1, 600))
    with messages.ingest(dsn, amqp_url) as ingest:
        says = "postgres: historical_transactions is UNLOGGED: a crash"
        eventually(lambda: ingest.health()[1].count(says) == 2)  # the writer, the releaser
        assert (ingest.health()[0], rows(conn)) == (503, [])
        conn.execute("ALTER TABLE historical_transactions SET LOGGED")
        eventually(lambda: sorted(rows(conn)) == [(1, 600), (77, 5)], 40)
        assert ingest.process.poll() is None
