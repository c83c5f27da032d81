"""Partitions made ahead and dropped behind, history pruned; cleaning never delays a writer."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg
import pytest
import redis
import structlog
from prometheus_client import REGISTRY

from services.syncer import retention
from services.syncer.partitions import Kept
from services.syncer.retention import Done
from tests.support import ledger, servers
from tests.support.eventually import eventually
from tests.support.ledger import add, count_all, minute
from tests.support.partitions import drop_made, made
from tests.support.timing import at_best_s

WAIT_S = 0.05 + 0.25
"""50 ms for a lock, and what a busy machine adds."""
LONG_AGO = "2020-01-01 05:30+00"
PARTITION = "outbox_20200101_04"
MAKE: LiteralString = "SELECT minutebook_make_partition(date_trunc('hour', %s::timestamptz, 'UTC'))"
DROP: LiteralString = "SELECT minutebook_drop_partition(%s)"


def run(conn: psycopg.Connection) -> Done:
    return retention.run_once(conn, Kept(24, 30))


def add_long_ago(conn: psycopg.Connection) -> None:
    conn.execute(MAKE, [LONG_AGO])
    conn.execute(
        "INSERT INTO outbox (provider_id, amount, operation, created_at)"
        " VALUES (1, 0, 'modified', %s)",
        [LONG_AGO],
    )


def test_an_expired_partition_goes_once_all_of_it_is_counted(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    add_long_ago(conn)
    assert run(ours).dropped == 0, "a row of it was not counted yet"
    assert PARTITION in made(conn)
    count_all(conn)
    assert run(ours).dropped == 1
    assert PARTITION not in made(conn)
    assert conn.execute("SELECT to_regclass(%s)", [PARTITION]).fetchone() == (None,)


def test_a_partition_within_the_retention_stays(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute("SELECT minutebook_make_partition(date_trunc('hour', now() - interval '24 h'))")
    before = made(conn)
    assert run(ours).dropped == 0
    assert set(before) <= set(made(conn))


def test_a_row_that_commits_while_the_drop_awaits_its_locks_keeps_the_partition(
    dsn: str, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    add_long_ago(conn)
    count_all(conn)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn) as writer:
        add_long_ago(writer)
        dropping = pool.submit(lambda: ours.execute(DROP, [PARTITION]).fetchone())
        eventually(lambda: waits(conn))
        writer.commit()
        assert dropping.result(timeout=60) == (False,)
    assert conn.execute("SELECT count(*) FROM outbox").fetchone() == (2,)


def waits(conn: psycopg.Connection) -> bool:
    row = conn.execute(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ).fetchone()
    return row != (0,)


def test_an_open_writer_delays_cleaning_and_is_not_delayed_by_it(
    dsn: str, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    add_long_ago(conn)
    visa = ledger.add_provider(conn, "Visa")
    count_all(conn)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn) as holder:
        add(holder, visa, 1)

        def slowest_s() -> float:
            dropping = pool.submit(run, ours)
            slowest = 0.0
            while not dropping.done():
                slowest = max(slowest, add_s(conn, visa))
            assert dropping.result().dropped == 0
            return slowest

        assert at_best_s(slowest_s, WAIT_S) < WAIT_S
        holder.commit()
    assert run(ours).dropped == 1


def add_s(conn: psycopg.Connection, provider: int) -> float:
    """Return how long it took to add a row."""
    started = time.monotonic()
    add(conn, provider, 1)
    return time.monotonic() - started


def test_a_long_reader_delays_cleaning_and_costs_writers_one_short_wait_a_round(
    dsn: str, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    for number in range(20):
        conn.execute(MAKE, [minute(240 * number)])
    visa = ledger.add_provider(conn, "Visa", 1000)
    count_all(conn)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(dsn) as reader:
        reader.execute("SELECT count(*) FROM outbox")

        def waited_s() -> float:
            cleaning = pool.submit(run, ours)
            waited = 0.0
            while not cleaning.done():
                waited += max(0.0, add_s(conn, visa) - 0.02)
            assert cleaning.result().dropped == 0
            return waited

        assert at_best_s(waited_s, WAIT_S) < WAIT_S, "in all"
        reader.rollback()
    assert run(ours).dropped == 20


@pytest.mark.parametrize("newest", ["visible", "was in progress"])
def test_what_is_looked_at_under_the_lock_does_not_grow_with_the_partition(
    dsn: str, conn: psycopg.Connection, newest: str
) -> None:
    insert: LiteralString = (
        "INSERT INTO outbox (provider_id, amount, operation, created_at)"
        " SELECT 1, 0, 'modified', %s FROM generate_series(1, %s)"
    )
    conn.execute(MAKE, [LONG_AGO])
    with psycopg.connect(dsn) as late:
        if newest == "was in progress":
            late.execute(insert, [LONG_AGO, 1])
        conn.execute(insert, [LONG_AGO, 20_000])
        count_all(conn)
        if newest == "visible":
            late.execute(insert, [LONG_AGO, 1])
        late.commit()
    conn.execute("ANALYZE")
    with psycopg.connect(dsn) as fresh:  # which has read nothing else
        assert fresh.execute(DROP, [PARTITION]).fetchone() == (False,)
        read = fresh.execute(
            "SELECT sum(pg_stat_get_xact_tuples_returned(o)) FROM (SELECT indexrelid AS o"
            " FROM pg_index WHERE indrelid = %(p)s::regclass UNION SELECT %(p)s::regclass) AS x",
            {"p": PARTITION},
        ).fetchone()
    assert read
    assert read[0] < 10, "in order or by an index, rows that are long counted were read"


def test_a_syncer_away_for_longer_than_the_retention_loses_nothing(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        for number in range(5):
            long_ago = minute(240 * number)
            conn.execute(MAKE, [long_ago])
            with conn.transaction():  # as if that time had been now
                add(conn, visa, 10**number)
                conn.execute(
                    "UPDATE outbox SET created_at = %s WHERE xid = pg_current_xact_id()",
                    [long_ago],
                )
        assert run(ours).dropped == 0
        syncer.tick(minute(2))
        assert ledger.newest(conn)[1:] == (5, 11111)
        ledger.assert_right(conn, store)
        assert run(ours).dropped == 5
        syncer.tick(minute(3))
        ledger.assert_right(conn, store)


@pytest.mark.parametrize("statement", [MAKE, DROP])
def test_two_syncers_may_clean_at_the_same_moment(
    dsn: str, conn: psycopg.Connection, statement: LiteralString
) -> None:
    argument = LONG_AGO
    if statement == DROP:
        conn.execute(MAKE, [LONG_AGO])
        argument = PARTITION
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(dsn) as one,
        psycopg.connect(dsn, autocommit=True) as other,
    ):
        assert one.execute(statement, [argument]).fetchone() == (True,)
        late = pool.submit(lambda: other.execute(statement, [argument]).fetchone())
        eventually(lambda: waits(conn))
        one.commit()
        assert late.result(timeout=60) == (False,)


def test_rows_in_the_default_partition_are_counted_right_and_reported(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    drop_made(conn)
    ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)
    with structlog.testing.capture_logs() as logs:
        assert run(ours).made == 1  # the one that these rows lie in cannot be made beside them
    assert REGISTRY.get_sample_value("minutebook_default_partition_rows") == 1
    events = [e["event"] for e in logs]
    assert events.count("default_partition_in_use") == 1
    assert "default_partition_rows" in events
