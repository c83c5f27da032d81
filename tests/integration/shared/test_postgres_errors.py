"""What Postgres says is an outage with its own sentence; what psycopg says by itself is a bug."""

from contextlib import AbstractContextManager

import psycopg
import pytest
from psycopg import sql
from pydantic import Secret

from shared import postgres
from shared.errors import StatementFailed, TooMuch, Unavailable
from shared.settings import PostgresSettings

SENTENCE = "what is in the way"
# One at least of every class that a statement can meet, some that no list of ours has, and two
# that only a trigger of somebody's can raise.
FAILED = (
    "0A000 21000 22003 22P05 23505 23514 25006 2200H 26000 28000 2BP01 34000 3D000 3F000 42501"
    " 42601 42703 42804 42883 42P01 42P10 42P17 44000 55000 55006 F0000 HV000 P0001 P0002 P0004"
    " XX000 XX001 XX002 ZZ999 MB001 54000 54001 57P01"
    " 57P03 57P05 58000 58030 58P01 08006 72000"
)
TOO_MUCH = "57014 25P04 55P03 40001 40P01 53200"


def test_every_error_that_the_server_sends_is_an_outage_with_its_sentence(
    conn: psycopg.Connection,
) -> None:
    for state in f"{FAILED} {TOO_MUCH}".split():
        with pytest.raises(Unavailable) as caught, postgres.translating():
            fail(conn, state)
        assert caught.value.detail == f"{state}: {SENTENCE}"
        assert isinstance(caught.value, TooMuch) == (state in TOO_MUCH)


def test_a_statement_that_fails_is_told_from_a_server_in_trouble(dsn: str) -> None:
    with pytest.raises(StatementFailed) as caught, connection(dsn) as conn:
        conn.execute("SELECT nothing_of_the_kind FROM dead_letter")
    assert caught.value.detail == '42703: column "nothing_of_the_kind" does not exist'
    with pytest.raises(Unavailable) as lost, connection(dsn) as conn:
        conn.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert not isinstance(lost.value, StatementFailed)
    assert lost.value.detail == "57P01: terminating connection due to administrator command"


def test_what_psycopg_refuses_by_itself_is_a_bug_of_ours(dsn: str) -> None:
    with pytest.raises(psycopg.ProgrammingError), connection(dsn) as conn:
        conn.execute("SELECT %(given)s", {"not": "given"})


def connection(dsn: str) -> AbstractContextManager[psycopg.Connection]:
    return postgres.connection(PostgresSettings(postgres_dsn=Secret(dsn)), application="test")


def fail(conn: psycopg.Connection, state: str) -> None:
    text = "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = {}, MESSAGE = {}; END $$"
    conn.execute(sql.SQL(text).format(sql.Literal(state), sql.Literal(SENTENCE)))
