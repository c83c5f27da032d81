"""The rights of each role are these and no others; each login tries what they are for."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors, sql

from migrations import rights, runner
from ops.doctor import grant_catalogue, grants
from shared.errors import Refusal
from tests.support import postgres_logins, servers
from tests.support.containers import ROOT
from tests.support.postgres_logins import ACTS, LOGINS, Act, dsn_of

FILL = """
INSERT INTO initial_data VALUES (1, 'Visa', 1000), (2, 'Mastercard', 2000);
INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (1, 100);
ALTER TABLE historical_transactions ADD COLUMN note text;
INSERT INTO follower (name, epoch, token) VALUES ('notifier', 0, '');
"""
GROUPS = {*rights.GROUPS.values(), "minutebook_reader"} - {rights.EXPORTERS}


@pytest.fixture(scope="module")
def filled(postgres_server: servers.Postgres) -> Iterator[str]:
    """One database for all that is tried here; the logins last as long as it does."""
    with postgres_server.database() as dsn, psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(FILL)
        postgres_logins.make_logins(admin)
        try:
            yield dsn
        finally:
            for login in LOGINS:
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(login)))


@pytest.fixture(scope="module")
def connections(filled: str) -> Iterator[dict[str, psycopg.Connection]]:
    """A connection of each login."""
    with contextlib.ExitStack() as opened:
        yield {
            login: opened.enter_context(psycopg.connect(dsn_of(login, filled), autocommit=True))
            for login in LOGINS
        }


@pytest.mark.parametrize("grantee", grants.RIGHTS)
def test_a_role_has_these_rights_and_no_others(conn: psycopg.Connection, grantee: str) -> None:
    assert grant_catalogue.granted(conn)[grantee] == grants.RIGHTS[grantee]


def test_nobody_else_has_any(conn: psycopg.Connection) -> None:
    assert set(grant_catalogue.granted(conn)) == set(grants.RIGHTS)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_each_login_may_do_what_it_needs_and_nothing_else(
    connections: dict[str, psycopg.Connection], act: Act
) -> None:
    assert {login for login, conn in connections.items() if may(conn, act.statement)} == act.by


def may(conn: psycopg.Connection, statement: str) -> bool:
    """Try; what was done is undone."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement.encode())
    except errors.InsufficientPrivilege:
        return False
    return True


def test_operators_and_exporters_see_who_waits_and_a_service_does_not(
    connections: dict[str, psycopg.Connection],
) -> None:
    others = (
        "SELECT count(query) FROM pg_stat_activity WHERE query LIKE 'SELECT%' AND usename <> %s"
    )

    def seen(login: str) -> bool:
        hidden = (
            connections[login].execute(others.replace("SELECT%", "SELECT%%"), [login]).fetchone()
        )
        return hidden != (0,)

    seeing = {"console", "ops", "exporter", postgres_logins.READER}
    assert {login for login in LOGINS if seen(login)} == seeing


def test_rights_granted_again_are_the_same_and_cover_what_came_later(
    filled: str, connections: dict[str, psycopg.Connection]
) -> None:
    store_dead_letter = (
        "INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state, later)"
        " VALUES ('x', 'not_json', '', 'q', '', '{}', 'open', 'now')"
    )
    with psycopg.connect(filled, autocommit=True) as admin:
        before = admin.execute("SELECT relacl FROM pg_class ORDER BY oid").fetchall()
        assert rights.grant(admin) == []
        assert admin.execute("SELECT relacl FROM pg_class ORDER BY oid").fetchall() == before
        admin.execute("ALTER TABLE dead_letter ADD COLUMN later text")
        assert not may(connections["ingest"], store_dead_letter)

        rights.grant(admin)

    assert may(connections["ingest"], store_dead_letter)


def test_rights_are_granted_where_ids_come_from_no_sequence_any_more(
    conn: psycopg.Connection,
) -> None:
    for table in ("historical_transactions", "initial_data"):
        conn.execute(f"ALTER TABLE {table} ALTER id DROP IDENTITY")
        assert rights.grant(conn) == []


def test_a_table_that_is_not_there_keeps_no_role_from_its_rights_to_others(
    conn: psycopg.Connection,
) -> None:
    given = "SELECT has_table_privilege('minutebook_gateway', 'balance', 'SELECT')"
    conn.execute("ALTER TABLE outbox_dropped RENAME TO elsewhere")
    conn.execute("REVOKE ALL ON balance FROM minutebook_gateway")

    assert rights.grant(conn) == []
    assert conn.execute(given).fetchone() == (True,)


@contextlib.contextmanager
def cluster_without_roles(conn: psycopg.Connection) -> Iterator[None]:
    """Be in a cluster without our groups, as a user who may make none; all of it is undone."""
    with conn.transaction(force_rollback=True):
        for group in sorted(GROUPS):
            rename = sql.SQL("ALTER ROLE {} RENAME TO {}")
            conn.execute(rename.format(sql.Identifier(group), sql.Identifier(f"no_{group}")))
        conn.execute("CREATE ROLE migrator; GRANT ALL ON SCHEMA public TO migrator")
        conn.execute("SET LOCAL ROLE migrator")
        yield
        conn.execute("RESET ROLE")


def test_who_may_make_no_roles_migrates_without_them_and_grants_once_they_are_made(
    empty_dsn: str,
) -> None:
    with (
        psycopg.connect(empty_dsn, autocommit=True) as conn,
        cluster_without_roles(conn),
    ):
        every = runner.read()
        for count in range(1, len(every) + 1):
            assert runner.apply(conn, every[:count])
            conn.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as at the end of each one's transaction
        assert set(rights.grant(conn)) == GROUPS
        with pytest.raises(Refusal, match="minutebook_ingest is missing"):
            rights.ensure_logins(conn, {"ingest": "whatever"})

        conn.execute("RESET ROLE")
        conn.execute((ROOT / "deploy" / "postgres" / "roles.sql").read_bytes())
        conn.execute("SET LOCAL ROLE migrator")

        assert rights.grant(conn) == []
        allowed = "SELECT has_table_privilege('minutebook_syncer', 'balance', 'INSERT')"
        assert conn.execute(allowed).fetchone() == (True,)
