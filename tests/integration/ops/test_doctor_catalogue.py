"""`ops doctor` on a real Postgres with wrong states in its catalogue: each is found."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from migrations import rights, runner
from ops.doctor import postgres_checks
from ops.doctor.core import Check
from tests.support import postgres_logins
from tests.support.postgres_logins import dsn_of

NEARLY_AT_ITS_END = """ALTER TABLE historical_transactions ALTER COLUMN id SET MAXVALUE 1000;
SELECT setval(minutebook_id_sequence('historical_transactions'), 960)"""
# What such sessions insert is taken for ingest's own, which has its outbox rows already.
SILENCED_SESSIONS = """DO $$ BEGIN
EXECUTE format('ALTER DATABASE %I SET minutebook.writer = ''ingest''', current_database());
END $$"""
OLD_COLLATION = """CREATE COLLATION theirs (provider = icu, locale = 'en');
CREATE INDEX ON initial_data (provider_name COLLATE theirs);
UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'theirs'"""


def checks(conn: psycopg.Connection) -> dict[str, Check]:
    found = list(postgres_checks.inspect(conn))
    assert all(one.advice for one in found if one.verdict != "ok")
    return {one.name: one for one in found}


def unhealthy(conn: psycopg.Connection) -> set[tuple[str, str]]:
    """Return what does not pass, but for what depends on the server of the tests."""
    server = {"idle_in_transaction_session_timeout", "shared_buffers", "max_wal_size"}
    return {
        (name, one.verdict)
        for name, one in checks(conn).items()
        if one.verdict != "ok" and name not in server
    }


@contextlib.contextmanager
def login(conn: psycopg.Connection, name: str, group: str) -> Iterator[None]:
    """Be in a cluster with a login of ours for a while."""
    conn.execute(
        f"CREATE ROLE {name} LOGIN PASSWORD '{postgres_logins.PASSWORD}';"
        f" GRANT {group} TO {name}".encode()
    )
    try:
        yield
    finally:
        conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def test_a_database_as_it_was_migrated_passes(conn: psycopg.Connection) -> None:
    assert unhealthy(conn) == set()


@pytest.mark.parametrize(
    ("statement", "name", "verdict", "text"),
    [
        (
            "INSERT INTO initial_data VALUES (1, 'Visa', 0), (2, 'Amex', 0)",
            "ids of initial_data",
            "warn",
            "minutebook_advance_sequence('initial_data')",
        ),
        (
            NEARLY_AT_ITS_END,
            "ids of historical_transactions",
            "fail",
            "AS bigint MAXVALUE",
        ),
        (
            "ALTER TABLE dead_letter ALTER COLUMN id SET CYCLE",
            "ids of dead_letter",
            "warn",
            "NO CYCLE",
        ),
        (
            "ALTER TABLE operator_action ALTER COLUMN id SET CACHE 50",
            "ids of operator_action",
            "warn",
            "CACHE 1",
        ),
        (
            "ALTER TABLE outbox ALTER COLUMN id SET INCREMENT -1 SET MINVALUE -1000",
            "ids of outbox",
            "warn",
            "INCREMENT 1",
        ),
        (
            "ALTER TABLE dead_letter SET UNLOGGED",
            "tables",
            "fail",
            "ALTER TABLE dead_letter SET LOGGED",
        ),
        (
            "ALTER TABLE outbox_default SET UNLOGGED",
            "tables",
            "fail",
            "ALTER TABLE outbox_default SET LOGGED",
        ),
        (
            "ALTER TABLE initial_data ENABLE ROW LEVEL SECURITY",
            "row-level security",
            "fail",
            "DISABLE ROW LEVEL SECURITY",
        ),
        (
            SILENCED_SESSIONS,
            "triggers",
            "fail",
            " RESET minutebook.writer, then ops reconcile",
        ),
        (
            "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()",
            "collation version",
            "fail",
            "REFRESH COLLATION VERSION",
        ),
        (
            OLD_COLLATION,
            "collation version",
            "fail",
            "ALTER COLLATION theirs REFRESH VERSION",
        ),
        (
            "REVOKE SELECT ON tick FROM minutebook_syncer",
            "rights granted",
            "fail",
            "python -m migrations",
        ),
        (
            "GRANT UPDATE ON balance TO minutebook_ingest",
            "rights beyond need",
            "warn",
            "REVOKE",
        ),
    ],
)
def test_what_is_wrong_in_the_catalogue_is_found_with_what_to_do(
    statement: str, name: str, verdict: str, text: str, conn: psycopg.Connection
) -> None:
    conn.execute(statement.encode())

    assert unhealthy(conn) == {(name, verdict)}
    assert text in checks(conn)[name].advice


def test_more_partitions_than_any_retention_needs_are_found(conn: psycopg.Connection) -> None:
    conn.execute(
        "SELECT minutebook_make_partition(now() + make_interval(hours => 4 * n))"
        " FROM generate_series(0, 101) n"
    )

    assert unhealthy(conn) == {("outbox partitions in all", "warn")}


def test_a_right_that_a_login_was_granted_beside_its_role_is_found(
    conn: psycopg.Connection,
) -> None:
    with login(conn, "night_ingest", "minutebook_ingest"):
        conn.execute("CREATE TABLE their_audit (id int); GRANT INSERT ON their_audit TO PUBLIC")
        assert unhealthy(conn) == set()
        conn.execute("GRANT DELETE ON historical_transactions TO night_ingest")

        found = checks(conn)["rights beyond need"].found

    assert found == "granted: night_ingest: DELETE on historical_transactions"


@pytest.mark.parametrize("group", ["minutebook_ops", "minutebook_reader"])
def test_it_all_can_be_read_by_who_is_there_to_look(
    group: str, dsn: str, conn: psycopg.Connection
) -> None:
    with login(conn, "night_shift", group):
        with psycopg.connect(dsn_of("night_shift", dsn), autocommit=True) as looking:
            found = checks(looking)

        assert {"rights granted", "collation version", "multixact ids"} <= set(found)
        unread = {name for name, one in found.items() if one.found == "not checked"}
        assert unread == (set() if group == "minutebook_ops" else {"ids of operator_action"})


def test_tables_with_a_sequence_of_their_own_have_the_rights_that_they_need(
    empty_dsn: str,
) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(
            "CREATE SCHEMA books; CREATE SEQUENCE books.numbers;"
            " CREATE TABLE books.initial_data"
            " (id int PRIMARY KEY, provider_name text, initial_value int);"
            " CREATE TABLE books.historical_transactions"
            " (id int DEFAULT nextval('books.numbers'), provider_id int, transaction_value int)"
        )
        name = sql.Identifier(conn.info.dbname)
        conn.execute(sql.SQL("ALTER DATABASE {} SET search_path = books").format(name))
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        runner.apply(conn, runner.read())
        rights.grant(conn)

        assert unhealthy(conn) == set()
