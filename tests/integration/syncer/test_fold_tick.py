"""The tick transaction: one row per boundary, nothing counted twice, whatever was remembered."""

from datetime import datetime, timedelta

import psycopg
import pytest
import redis
from prometheus_client import REGISTRY

from services.syncer.service import Syncer
from shared.errors import Unavailable
from tests.support import ledger, servers
from tests.support.ledger import add, minute, newest


def refused() -> float:
    return REGISTRY.get_sample_value("minutebook_refused_boundaries_total") or 0.0


def now(conn: psycopg.Connection) -> datetime:
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    assert row
    return row[0]  # type: ignore[no-any-return]


def test_the_same_boundary_twice_is_one_tick(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    first, shown = newest(conn), ledger.shown(store)
    add(conn, 1, 5)
    assert syncer.tick(minute(1)).state == "done"
    assert (newest(conn), ledger.shown(store)) == (first, shown)
    syncer.tick(minute(2))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def test_an_older_boundary_is_ignored(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    syncer.tick(minute(2))
    second, shown = newest(conn), ledger.shown(store)
    add(conn, 1, 5)
    syncer.tick(minute(1))
    assert (newest(conn), ledger.shown(store)) == (second, shown)


def test_a_boundary_in_the_databases_future_is_refused_and_counted(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    before = refused()
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(now(conn) + timedelta(seconds=60))
        assert refused() == before + 1
        assert newest(conn)[0] == 0
        syncer.tick(now(conn) + timedelta(seconds=0.5))  # the promise's tolerance is a second
        assert refused() == before + 1
        assert newest(conn)[0] == 1
    ledger.assert_right(conn, store)


@pytest.mark.parametrize("table", ["historical_transactions", "initial_data"])
def test_a_tick_that_also_changed_the_users_tables_is_refused(
    conn: psycopg.Connection, table: str
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    conn.execute("BEGIN")
    if table == "initial_data":
        ledger.add_provider(conn, "Other", 1)
    else:
        add(conn, visa, 5)
    conn.execute(
        "INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount)"
        " SELECT 1, 'x', %s, pg_current_snapshot(), system_identifier, 0, 0"
        " FROM pg_control_system()",
        [minute(1)],
    )
    with pytest.raises(psycopg.errors.RaiseException, match="also wrote"):
        conn.execute("COMMIT")
    assert newest(conn)[0] == 0
    assert ledger.truth(conn) == {f"{visa}_Visa": "1000"}


def test_a_tick_of_another_syncer_makes_us_forget_what_we_remember(
    syncer: Syncer, other: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    add(conn, 1, 5)
    assert syncer.fold().rows == 1
    add(conn, 1, 7)
    other.tick(minute(2))
    add(conn, 1, 11)
    syncer.tick(minute(3))  # without a fold between, which would have noticed first
    assert newest(conn)[1:] == (1, 11)
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def test_a_fold_notices_that_another_syncer_is_at_work(
    syncer: Syncer, other: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    add(conn, 1, 5)
    syncer.fold()
    other.tick(minute(2))
    assert syncer.fold().overtaken
    add(conn, 1, 7)
    folded = syncer.fold()
    assert (folded.rows, folded.overtaken) == (1, False)
    syncer.tick(minute(3))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


@pytest.mark.parametrize("after", ["fold", "tick"])
def test_what_was_remembered_over_a_lost_connection_is_counted_once_by_the_next_syncer(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    after: str,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        add(conn, visa, 5)
        assert syncer.fold().rows == 1
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'minutebook-test'"
        )
        with pytest.raises(Unavailable):
            use(syncer, after)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(2))
        assert newest(conn)[1:] == (1, 5)
        syncer.tick(minute(3))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def use(syncer: Syncer, after: str) -> None:
    if after == "fold":
        syncer.fold()
    else:
        syncer.tick(minute(2))


def test_the_lock_is_taken_before_the_reads_see_anything(
    dsn: str, syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    with ledger.waiting_for_the_tick_lock(dsn, lambda: syncer.tick(minute(3))) as locked:
        add(conn, 1, 5)
        ledger.tick_within(locked, minute(2))
    assert newest(conn)[1:] == (0, 0)
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)
