"""What users have on their own tables: triggers, deferred constraints, columns, children."""

from collections.abc import Iterator

import psycopg
import pytest

from migrations import runner
from shared.errors import Refusal, Unavailable
from tests.support.messages import (
    add_providers,
    body,
    counted,
    dead_letters,
    ingest_connection,
    received,
    release_parked,
    rows,
    store_batch,
    truth,
)

THEIR_TABLES = """
CREATE TABLE initial_data (id serial PRIMARY KEY, provider_name text, initial_value int);
CREATE TABLE historical_transactions (
    id serial PRIMARY KEY, provider_id int REFERENCES initial_data, transaction_value int{more});
INSERT INTO initial_data VALUES (1, 'Visa', 0)
"""


@pytest.fixture
def ours(dsn: str, conn: psycopg.Connection) -> Iterator[psycopg.Connection]:
    add_providers(conn)
    with ingest_connection(dsn) as ours:
        yield ours


@pytest.fixture
def theirs(empty_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        yield conn


def trigger(conn: psycopg.Connection, kind: str, code: str, deferred: str = "") -> None:
    conn.execute(
        f"CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {code} END $$;"
        f" CREATE {kind} INSERT ON historical_transactions {deferred}"
        " FOR EACH ROW EXECUTE FUNCTION theirs()"
    )


def refuse_large_at_commit(conn: psycopg.Connection) -> None:
    code = "IF NEW.transaction_value < -500 THEN RAISE EXCEPTION 'too much'; END IF; RETURN NULL;"
    trigger(conn, "CONSTRAINT TRIGGER theirs AFTER", code, "DEFERRABLE INITIALLY DEFERRED")


def test_rows_that_their_trigger_adds_to_ours_count(
    conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    fee = "INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (1, -1);"
    guard = f"IF NEW.transaction_value > 0 THEN {fee} END IF; RETURN NULL;"
    trigger(conn, "TRIGGER theirs AFTER", guard)
    store_batch(ours, [received(body(), "a")])
    assert len(rows(conn)) == 2
    assert counted(conn) == truth(conn)


def test_what_they_refuse_only_at_the_commit_becomes_a_dead_letter_and_the_rest_rows(
    conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    refuse_large_at_commit(conn)
    store_batch(ours, [received(body(1, 5), "a"), received(body(1, -900), "b", tag=2)])
    assert rows(conn) == [(1, 5)]
    assert [reason for reason, _, _ in dead_letters(conn)] == ["refused_by_database"]


def test_what_they_refuse_only_at_the_commit_does_not_hold_back_others_that_waited(
    conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    refuse_large_at_commit(conn)
    store_batch(ours, [received(body(77, 5), "a"), received(body(77, -900), "b", tag=2)])
    conn.execute("INSERT INTO initial_data VALUES (77, 'Late', 0)")
    assert release_parked(ours) == 1
    assert [reason for reason, _, _ in dead_letters(conn)] == ["refused_by_database"]


def test_a_row_that_their_trigger_swallows_is_said_to_be_refused(
    conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    trigger(conn, "TRIGGER theirs BEFORE", "RETURN NULL;")
    store_batch(ours, [received(body(), "a")])
    release_parked(ours)
    assert [reason for reason, _, _ in dead_letters(conn)] == ["refused_by_database"]


@pytest.mark.parametrize("change", ["NULL", "lower(NEW.message_id)"])
def test_a_message_whose_identity_their_trigger_changes_is_a_dead_letter_and_no_row(
    change: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    guard = f"IF NEW.transaction_value = 5 THEN NEW.message_id := {change}; END IF; RETURN NEW;"
    trigger(conn, "TRIGGER theirs BEFORE", guard)
    for provider in (1, 77):
        named = received(body(provider, 5), f"A{provider}")
        store_batch(ours, [named, received(body(provider, 6), tag=2, fallback_id=f"b{provider}")])
    conn.execute("INSERT INTO initial_data VALUES (77, 'Late', 0)")
    assert release_parked(ours) == 1
    assert rows(conn) == [(1, 6), (77, 6)]
    assert [reason for reason, _, _ in dead_letters(conn)] == ["refused_by_database"] * 2
    assert counted(conn) == truth(conn)


@pytest.mark.parametrize("what", ["no free ids", "a column that no message fills"])
def test_what_is_no_messages_fault_makes_no_dead_letters(
    what: str, theirs: psycopg.Connection, empty_dsn: str
) -> None:
    theirs.execute(THEIR_TABLES.format(more=""))
    runner.apply(theirs, runner.read())
    if "ids" in what:
        theirs.execute("SELECT setval('historical_transactions_id_seq', 2147483647)")
    else:
        theirs.execute("ALTER TABLE historical_transactions ADD currency text NOT NULL")
    with ingest_connection(empty_dsn) as ours, pytest.raises(Unavailable):
        store_batch(ours, [received(body(1, 1), "a"), received(body(1, 5), "b", tag=2)])
    assert dead_letters(theirs) == []


@pytest.mark.parametrize(
    "more",
    [
        "CREATE TABLE child () INHERITS (historical_transactions)",
        (
            "ALTER TABLE historical_transactions ADD doubled int; DROP TABLE initial_data CASCADE;"
            " CREATE TABLE initial_data (id int PRIMARY KEY, provider_name text, initial_value int)"
            " PARTITION BY RANGE (id)"
        ),
    ],
    ids=["children", "partitions"],
)
def test_tables_whose_rows_our_triggers_would_not_see_are_refused(
    more: str, theirs: psycopg.Connection
) -> None:
    theirs.execute(THEIR_TABLES.format(more="") + ";" + more)
    with pytest.raises(Refusal, match="be adopted"):
        runner.apply(theirs, runner.read())


def test_a_unique_message_id_of_theirs_is_adopted(theirs: psycopg.Connection) -> None:
    theirs.execute(THEIR_TABLES.format(more=", message_id text UNIQUE"))
    assert runner.apply(theirs, runner.read())


def test_tables_in_another_schema_than_ours_would_be_in_are_refused(
    theirs: psycopg.Connection,
) -> None:
    theirs.execute(THEIR_TABLES.format(more=""))
    theirs.execute('CREATE SCHEMA "user"')
    with pytest.raises(Refusal, match='several schemas: "user", public'):
        runner.apply(theirs, runner.read())


def test_a_temporary_table_named_like_ours_diverts_nothing(
    dsn: str, conn: psycopg.Connection
) -> None:
    add_providers(conn)
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("CREATE TEMP TABLE outbox (LIKE public.outbox INCLUDING ALL)")
        other.execute(
            "INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (1, 600)"
        )
    assert counted(conn) == truth(conn)


def test_nobody_else_may_call_our_functions(conn: psycopg.Connection) -> None:
    free = conn.execute(
        "SELECT proname FROM pg_proc WHERE proname LIKE 'minutebook%'"
        " AND has_function_privilege('pg_monitor', oid, 'EXECUTE')"
    ).fetchall()
    assert free == []
