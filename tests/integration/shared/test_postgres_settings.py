"""What a role or a database sets changes nothing that we read, write or keep."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import redis
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import Secret

from ops.doctor import postgres_checks
from services.syncer import retention
from services.syncer.partitions import Kept
from services.syncer.tick_store import OPTIONS
from shared import postgres
from shared.session_settings import PINNED, REFUSED
from shared.settings import PostgresSettings
from tests.support import (
    keydb_rights,
    ledger,
    messages,
    ops_tool,
    partitions,
    programs,
    server_settings,
    servers,
)
from tests.support.eventually import eventually
from tests.support.ledger import minute
from tests.support.messages import body
from tests.support.ops_tool import Tool
from tests.support.partitions import spans

THEIRS = """
CREATE TABLE initial_data (id int PRIMARY KEY, provider_name text, initial_value int);
CREATE TABLE historical_transactions (
    id serial PRIMARY KEY, provider_id int REFERENCES initial_data, transaction_value int);
INSERT INTO initial_data VALUES (1, 'Visa', 1000), (2, 'Mastercard', 2000);
INSERT INTO historical_transactions (provider_id, transaction_value)
VALUES (1, 100), (1, 200), (2, -200)
"""
PLAIN = (
    "-c datestyle=ISO -c timezone=UTC -c client_encoding=UTF8 -c idle_session_timeout=0"
    " -c statement_timeout=0 -c exit_on_error=off -c quote_all_identifiers=off"
    " -c standard_conforming_strings=on"
)
UNHURRIED = "-c statement_timeout=0 -c idle_session_timeout=0"
"""Of a person's session, which a busy machine must not end between two statements."""
BY_HAND = (
    "INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (2, 5), (2, 7)",
    "UPDATE historical_transactions SET transaction_value = 8 WHERE transaction_value = 7",
    "DELETE FROM historical_transactions WHERE transaction_value = 8",
    "UPDATE initial_data SET provider_name = 'Master' WHERE id = 2",
)
ANY_AGE = timedelta(minutes=10)


@pytest.fixture(params=["German", "Indian"])
def hostile(request: pytest.FixtureRequest, empty_dsn: str) -> str:
    """A database of the worked example whose sessions begin otherwise than any of ours should."""
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute(THEIRS)
        german = request.param == "German"
        server_settings.impose(conn, server_settings.GERMAN if german else server_settings.INDIAN)
    return empty_dsn


@contextlib.contextmanager
def plain(dsn: str) -> Iterator[psycopg.Connection]:
    """Yield what the test sees by."""
    with psycopg.connect(dsn, autocommit=True, options=PLAIN) as conn:
        yield conn


def migrated(dsn: str) -> None:
    with programs.running("migrations", POSTGRES_DSN=dsn) as job:
        assert job.process.wait(60) == 0, job.logs()


def assert_partitions_right(conn: psycopg.Connection) -> None:
    """Fail unless each partition begins at the hour of its name, and now is in one."""
    found = spans(conn)
    assert [f"outbox_{begins:%Y%m%d_%H}" for _, begins, _ in found] == [name for name, *_ in found]
    assert [1 for _, begins, ends in found if begins <= datetime.now(UTC) < ends] == [1]


def is_recent(text: str) -> bool:
    return abs(datetime.fromisoformat(text) - datetime.now(UTC)) < ANY_AGE


def test_the_worked_example_holds_whatever_sessions_begin_with(
    hostile: str, amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    migrated(hostile)
    with plain(hostile) as conn, ledger.syncing(hostile, keydb_server.url()) as syncer:
        assert_partitions_right(conn)
        syncer.tick(minute(1))
        assert ledger.shown(store) == {"1_Visa": "1300", "2_Mastercard": "1800"}
        ingested(hostile, amqp_url, conn)
        by_hand(hostile)
        syncer.tick(minute(2))
        assert ledger.shown(store) == {"1_Visa": "1900", "2_Master": "1805"}
        kept_up(hostile, conn)
        told(ops_tool.deployment(hostile, amqp_url, keydb_server.url(keydb_rights.OPERATOR)))
        syncer.tick(minute(3))
        assert ledger.shown(store)["7_Amex"] == "51"
        ledger.assert_right(conn, store)


def ingested(dsn: str, amqp_url: str, conn: psycopg.Connection) -> None:
    """Have ingest store a row, an unfit message and one whose provider is not there."""
    unfit = (b'{"id": 1, "value": "\\600"}', body(7, 1))
    messages.publish(amqp_url, body(1, 600), *unfit, identities=["PAY-1", "a\\b'c", "{NULL}"])
    with messages.ingest(dsn, amqp_url, TRACING="on") as ingest:
        eventually(lambda: len(messages.dead_letters(conn)) == 2)
        messages.queue_drained(ingest, amqp_url)
        assert messages.rows(conn)[-1] == (1, 600)
    found = conn.execute(
        "SELECT message_id, body, traceparent FROM dead_letter d"
        " LEFT JOIN outbox ON false ORDER BY d.id"
    ).fetchall()
    assert found == [("a\\b'c", unfit[0], None), ("{NULL}", unfit[1], None)]
    assert conn.execute("SELECT count(traceparent) FROM outbox").fetchone() == (0,)


def by_hand(dsn: str) -> None:
    """Change rows as people do whose sessions are as hostile."""
    with psycopg.connect(dsn, autocommit=True, options=UNHURRIED) as user:
        for statement in BY_HAND:
            user.execute(statement)


def kept_up(dsn: str, conn: psycopg.Connection) -> None:
    """Let the syncer's retention, and a person at psql, make the partitions of other hours."""
    conn.execute(f"DROP TABLE {partitions.made(conn)[-1]}")  # of later hours, hence empty
    settings = PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(settings, application="test", options=OPTIONS) as ours:
        assert retention.run_once(ours, Kept(24, 30)).made
    with psycopg.connect(dsn, autocommit=True, options=UNHURRIED) as user:
        user.execute("SELECT minutebook_make_partition(now() + interval '9 hours')")
        user.execute("SET default_transaction_isolation = 'read committed'")  # else it refuses
        user.execute(
            "INSERT INTO outbox (provider_id, amount, operation, created_at)"
            " VALUES (1, 0, 'added', now() - interval '9 hours')"
        )
        user.execute("SELECT minutebook_repair_default()")
    assert partitions.in_default(conn) == 0
    assert_partitions_right(conn)


def told(ops: Tool) -> None:
    """Fail unless the operator's tool says and does what is right."""
    dead_letter = ops.json("dead-letters", "show", "2")
    assert is_recent(dead_letter["received_at"])
    recent = ("--since", (datetime.now(UTC) - ANY_AGE).isoformat())
    assert ops.json("dead-letters", "list", *recent)["counts"][0]["letters"] == 1
    then = ops.json("balances", "--as-of", "2020-01-01T00:01:30")
    assert (then["boundary"], then["balances"][0]["balance"]) == ("2020-01-01T00:01:00Z", 1300)
    assert ops.json("audit", "2020-01-01T00:02")["clean"]
    assert ops.json("reconcile")["drifting"] == 0
    assert ops.json("provider", "add", "Amex", "50", "--id", "7")["provider"]["id"] == 7
    assert ops.json("dead-letters", "replay", "2")["rows"] == 1
    assert "2020-01-01T00:02:00Z" in ops("status").stdout
    found = {one["name"]: one["verdict"] for one in ops("doctor", "--json").document["checks"]}
    assert (found["outbox partitions"], found["triggers"]) == ("ok", "ok")


def test_what_the_dsn_and_the_environment_ask_for_does_not_undo_what_is_pinned(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_settings.impose(conn, server_settings.GERMAN)
    asked = "-c timezone=Asia/Kolkata -c synchronous_commit=local -c row_security=on"
    monkeypatch.setenv("PGTZ", "Asia/Kolkata")
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    given = PostgresSettings(postgres_dsn=Secret(make_conninfo(dsn, options=asked)))
    with postgres.connection(given, application="test") as ours:
        found = dict(ours.execute("SELECT lower(name), setting FROM pg_settings").fetchall())
    assert {name: found[name] for name in PINNED} == PINNED
    assert set(PINNED) <= set(server_settings.GERMAN), "nothing hostile was tried"
    assert found["idle_session_timeout"] == found.get("transaction_timeout", "0") == "0"


def test_a_commit_that_waits_for_more_than_ours_keeps_waiting(
    dsn: str, conn: psycopg.Connection
) -> None:
    server_settings.impose(conn, {"synchronous_commit": "remote_apply"})
    given = PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(given, application="test") as ours:
        assert postgres.scalar(ours, "SHOW synchronous_commit") == "remote_apply"


@pytest.mark.parametrize(("name", "value"), REFUSED.items())
def test_what_only_a_superuser_could_set_right_is_refused_with_the_reason(
    dsn: str, conn: psycopg.Connection, name: str, value: str
) -> None:
    server_settings.impose(conn, {name: value})
    with programs.running("migrations", POSTGRES_DSN=dsn) as job:
        assert job.process.wait(60) == 1
        assert f"{name} = {value}" in job.lines()[-1]["reason"]
    with psycopg.connect(dsn, autocommit=True) as plain_one:
        found = {one.name: one.verdict for one in postgres_checks.inspect(plain_one)}
    assert found[name] == "fail"


def test_a_service_waits_unhealthy_until_what_it_cannot_set_right_is_reset(
    dsn: str, conn: psycopg.Connection, amqp_url: str
) -> None:
    server_settings.impose(conn, {"session_replication_role": "replica"})
    with messages.ingest(dsn, amqp_url) as ingest:
        eventually(lambda: "session_replication_role = replica" in ingest.health()[1])
        assert ingest.health()[0] == 503
        reset = sql.SQL("ALTER DATABASE {} RESET ALL")
        conn.execute(reset.format(sql.Identifier(conn.info.dbname)))
        eventually(lambda: ingest.health()[0] == 200)


def test_somebody_decided_for_each_setting_of_a_session_what_it_is_to_us(
    conn: psycopg.Connection,
) -> None:
    undecided = {
        name
        for name, category in server_settings.settable(conn).items()
        if name not in server_settings.decided()
        and not category.startswith(server_settings.HARMLESS_CATEGORIES)
    }
    assert undecided == set(), "pin it, refuse it (shared/session_settings.py), or say why not"


def test_functions_of_ours_read_and_write_alike_in_every_session(conn: psycopg.Connection) -> None:
    pins = ["DateStyle=ISO, MDY", "TimeZone=UTC", "standard_conforming_strings=on"]
    loose = conn.execute(
        "SELECT proname FROM pg_proc WHERE proname LIKE %s AND prorettype <> 'trigger'::regtype"
        " AND NOT %s::text[] <@ coalesce(proconfig, '{}')",
        ["minutebook%", [*pins, "row_security=off"]],
    )
    assert loose.fetchall() == []
