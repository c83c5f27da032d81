"""Migrations are applied once, by one at a time, and never onto something nobody knows."""

import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from migrations import runner
from shared import postgres
from shared.errors import Refusal
from shared.postgres import SCHEMA_NEEDED
from tests.support import messages, programs, servers
from tests.support.containers import ROOT
from tests.support.eventually import eventually

# Everything that a migration could have made or changed.
SELECT_OBJECTS = """
SELECT 'table', c.oid::regclass::text || ' ' || a.attname FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relnamespace = 'public'::regnamespace
UNION ALL SELECT 'function', proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT 'trigger', tgname FROM pg_trigger WHERE NOT tgisinternal
ORDER BY 1, 2
"""


@pytest.fixture
def empty(empty_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        yield conn


def objects(conn: psycopg.Connection) -> list[tuple[str, str]]:
    return conn.execute(SELECT_OBJECTS).fetchall()


def versions(applied: list[runner.Migration]) -> list[int]:
    return [one.version for one in applied]


def run(dsn: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the one-shot job as compose does."""
    return subprocess.run(
        [sys.executable, "-m", "migrations", *arguments],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "POSTGRES_DSN": dsn, "LOG_FORMAT": "json"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_a_fresh_database_is_brought_to_the_newest_schema_and_a_second_run_does_nothing(
    empty: psycopg.Connection,
) -> None:
    files = runner.read()
    assert versions(runner.apply(empty, files)) == [one.version for one in files]
    before = objects(empty)
    assert runner.apply(empty, files) == []
    assert objects(empty) == before
    assert empty.execute("SELECT count(*) FROM tick").fetchone() == (1,)


def test_two_at_once_apply_everything_once(empty_dsn: str, empty: psycopg.Connection) -> None:
    applied: list[list[int]] = []
    start = threading.Barrier(2)

    def migrate() -> None:
        with psycopg.connect(empty_dsn, autocommit=True) as conn:
            start.wait(60)
            applied.append(versions(runner.apply(conn, runner.read())))

    threads = [threading.Thread(target=migrate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(applied) == [[], [one.version for one in runner.read()]]
    assert empty.execute("SELECT count(*) FROM tick").fetchone() == (1,)


def test_an_edited_file_is_refused_and_nothing_changes(conn: psycopg.Connection) -> None:
    files, before = runner.read(), objects(conn)
    more = runner.Migration(len(files) + 1, "more", "0" * 64, "CREATE TABLE more ()")
    files[1] = dataclasses.replace(files[1], checksum="0" * 64)
    with pytest.raises(Refusal, match=r"2 \(create_tables\) was edited"):
        runner.apply(conn, [*files, more])
    assert objects(conn) == before


def test_a_database_of_other_files_under_the_same_numbers_is_refused_with_what_to_do(
    dsn: str, conn: psycopg.Connection
) -> None:
    # As before the files were merged into these: eleven of them, none with today's checksum.
    conn.execute("UPDATE schema_migration SET checksum = repeat('0', 64)")
    conn.execute(
        "INSERT INTO schema_migration (version, name, checksum)"
        " SELECT n, 'merged', repeat('0', 64) FROM generate_series(%s, 11) n",
        [SCHEMA_NEEDED + 1],
    )
    before = objects(conn)
    refused = run(dsn)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "initial_data and historical_transactions into a new database" in refused.stderr
    assert objects(conn) == before


def test_a_missing_file_is_refused(conn: psycopg.Connection) -> None:
    with pytest.raises(Refusal, match=rf"{SCHEMA_NEEDED} \(.* missing"):
        runner.apply(conn, runner.read()[:-1])


def test_a_migration_that_fails_leaves_nothing_behind_and_lets_the_next_run_go_on(
    conn: psycopg.Connection,
) -> None:
    files, before = runner.read(), objects(conn)
    number = len(files) + 1
    broken = runner.Migration(number, "more", "1", "CREATE TABLE more (); SELECT 1 / 0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        runner.apply(conn, [*files, broken])
    assert objects(conn) == before
    mended = runner.Migration(number, "more", "2", "CREATE TABLE more ()")
    assert versions(runner.apply(conn, [*files, mended])) == [number]


@pytest.mark.parametrize("name", runner.tables(runner.read()))
def test_a_table_of_another_program_under_one_of_our_names_is_refused_before_anything_changes(
    name: str, empty: psycopg.Connection
) -> None:
    empty.execute(sql.SQL("CREATE TABLE {} (theirs text)").format(sql.Identifier(name)))
    empty.execute("CREATE TABLE initial_data (id int PRIMARY KEY, provider_name text)")
    before = objects(empty)
    with pytest.raises(Refusal, match=name):
        runner.apply(empty, runner.read())
    assert objects(empty) == before


def test_a_ledger_of_another_program_is_refused(empty: psycopg.Connection) -> None:
    empty.execute("CREATE TABLE schema_migration (theirs text)")
    before = objects(empty)
    with pytest.raises(Refusal, match="schema_migration"):
        runner.apply(empty, runner.read())
    assert objects(empty) == before


def test_a_database_that_is_not_in_utf_8_is_refused_by_migrations_and_by_services(
    postgres_server: servers.Postgres,
) -> None:
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin:
        admin.execute(
            "CREATE DATABASE test_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
        )
        try:
            with psycopg.connect(postgres_server.dsn("test_ascii"), autocommit=True) as conn:
                with pytest.raises(Refusal, match="SQL_ASCII"):
                    runner.apply(conn, runner.read())
                with pytest.raises(Refusal, match="SQL_ASCII"):
                    postgres.check_schema(conn)
                assert objects(conn) == []
        finally:
            admin.execute("DROP DATABASE test_ascii WITH (FORCE)")


def test_the_job_says_what_is_missing_then_applies_it_then_finds_nothing(
    empty_dsn: str, empty: psycopg.Connection
) -> None:
    asked = run(empty_dsn, "--status")
    assert asked.returncode == 1
    assert asked.stderr.count('"event": "migration_pending"') == len(runner.read())
    assert objects(empty) == []
    assert run(empty_dsn).returncode == 0
    again = run(empty_dsn, "--status")
    assert again.returncode == 0, again.stderr
    assert '"pending": 0' in again.stderr


def test_the_job_refuses_in_one_line_with_exit_code_1(
    empty_dsn: str, empty: psycopg.Connection
) -> None:
    empty.execute("CREATE TABLE tick (theirs text)")
    refused = run(empty_dsn)
    assert refused.returncode == 1
    assert len(refused.stderr.splitlines()) == 1
    assert "tick" in refused.stderr


def test_the_job_waits_for_a_server_that_is_not_there_yet(dsn: str) -> None:
    # A database that refuses connections is what a server that still starts looks like.
    base, _, name = dsn.rpartition("/")
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as admin:
        admin.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        with programs.running("migrations", POSTGRES_DSN=dsn) as job:
            eventually(lambda: '"event": "reconnecting"' in job.logs())
            assert job.process.poll() is None
            admin.execute(allow.format(sql.Identifier(name), sql.SQL("true")))
            assert job.process.wait(60) == 0


@pytest.mark.parametrize("version", [1, postgres.SCHEMA_NEEDED - 1])
def test_a_service_refuses_a_schema_that_is_older_than_it_needs(
    version: int, empty: psycopg.Connection
) -> None:
    runner.apply(empty, runner.read()[:version])
    with pytest.raises(Refusal, match=f"version {version} is older .*python -m migrations"):
        postgres.check_schema(empty)


def test_a_service_tolerates_the_next_newer_schema_and_refuses_one_beyond(
    conn: psycopg.Connection,
) -> None:
    add = "INSERT INTO schema_migration VALUES (%s, 'more', '0')"
    postgres.check_schema(conn)
    conn.execute(add, [postgres.SCHEMA_NEEDED + 1])
    postgres.check_schema(conn)
    conn.execute(add, [postgres.SCHEMA_NEEDED + 2])
    with pytest.raises(Refusal, match="too new"):
        postgres.check_schema(conn)


def test_a_service_on_an_empty_database_exits_1_with_a_clear_line(
    empty_dsn: str, amqp_url: str
) -> None:
    with messages.ingest(empty_dsn, amqp_url) as program:
        assert program.process.wait(60) == 1
        assert "run 'python -m migrations' first" in program.logs()
        assert "Traceback" not in program.logs()
