"""Rows of the default partition go where they belong: none lost, none counted twice."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import psycopg
import pytest
import redis
from prometheus_client import REGISTRY
from pydantic import Secret

from services.syncer import audit, partitions, upkeep
from services.syncer import store as sql
from shared import postgres
from shared.errors import Unavailable
from shared.settings import PostgresSettings
from tests.support import ledger, servers
from tests.support.eventually import eventually
from tests.support.ledger import add, minute

ATTACHED: LiteralString = (
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent = 'outbox'::regclass ORDER BY 1"
)
ROWS: LiteralString = "SELECT to_jsonb(o) FROM outbox o ORDER BY o.id"
IN_DEFAULT: LiteralString = "SELECT count(*) FROM ONLY outbox_default"
WHERE: LiteralString = "SELECT DISTINCT tableoid::regclass::text FROM outbox ORDER BY 1"


@pytest.fixture
def ours(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection with the syncer's own options."""
    settings = PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(settings, application="test", options=sql.OPTIONS) as conn:
        yield conn


@pytest.fixture
def visa(conn: psycopg.Connection) -> int:
    """A provider in an outbox without any hourly partition, as if the syncer was long away."""
    for (name,) in conn.execute(ATTACHED).fetchall():
        if name != "outbox_default":
            conn.execute(f"DROP TABLE {name}")
    return ledger.add_provider(conn, "Visa", 1000)


def in_default(conn: psycopg.Connection) -> int:
    return int(conn.execute(IN_DEFAULT).fetchall()[0][0])


def backdate(conn: psycopg.Connection, *hours: int) -> None:
    """Write a row of amount 0 for each of these hours ago."""
    conn.execute(
        "INSERT INTO outbox (provider_id, amount, operation, created_at, traceparent)"
        " SELECT 1, 0, 'modified', now() - make_interval(hours => h), 'of hour ' || h"
        " FROM unnest(%s::int[]) h",
        [list(hours)],
    )


@pytest.mark.parametrize("folding", [False, True], ids=["tick-only", "folded-into-memory"])
def test_counted_and_uncounted_rows_move_as_they_are_and_count_once(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    visa: int,
    store: "redis.Redis",
    *,
    keydb_server: servers.Keydb,
    folding: bool,
) -> None:
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        add(conn, visa, 5)
        backdate(conn, 3, 30)
        syncer.tick(minute(1))
        add(conn, visa, 7)
        backdate(conn, 1, 3)
        if folding:
            assert syncer.fold().rows == 3
        before: list[Any] = conn.execute(ROWS).fetchall()
        assert partitions.repair_default(ours) == len(before) == 7
        assert conn.execute(ROWS).fetchall() == before
        assert in_default(conn) == 0
        assert len(conn.execute(WHERE).fetchall()) == 4
        syncer.fold()
        add(conn, visa, 11)
        syncer.tick(minute(2))
        assert ledger.newest(conn)[1:] == (4, 18)
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)
    assert audit.audit(conn, epoch=1).clean
    assert audit.audit(conn, epoch=2).clean
    assert REGISTRY.get_sample_value("minutebook_default_partition_rows") == 0


def test_afterwards_upkeep_makes_and_drops_partitions_as_ever(
    ours: psycopg.Connection, conn: psycopg.Connection, visa: int
) -> None:
    backdate(conn, 30)
    partitions.repair_default(ours)
    made = conn.execute(ATTACHED).fetchall()
    with conn.transaction():
        sql.lock_ticks(conn)
        ledger.tick_within(conn, minute(1))
    done = upkeep.run_once(ours, outbox_h=24, history_d=30)
    assert (done.made, done.dropped) == (2, 1)
    assert len(conn.execute(ATTACHED).fetchall()) == len(made) + 1
    constraints = conn.execute(
        "SELECT DISTINCT array_agg(conname::text ORDER BY conname) FROM pg_constraint"
        " WHERE contype = 'c' AND conrelid::regclass::text ~ '^outbox(_default|_2)'"
        " GROUP BY conrelid"
    ).fetchall()
    assert constraints == [(["outbox_operation_check", "outbox_reason_check"],)]
    add(conn, visa, 1)
    assert in_default(conn) == 0


def test_an_empty_default_partition_is_left_alone(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    before = conn.execute(ATTACHED).fetchall()
    assert partitions.repair_default(ours) == 0
    assert conn.execute(ATTACHED).fetchall() == before


def test_a_row_that_commits_while_others_are_copied_is_moved_too(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    visa: int,
    store: "redis.Redis",
    *,
    keydb_server: servers.Keydb,
) -> None:
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(dsn) as writer,
        ledger.syncing(dsn, keydb_server.url()) as syncer,
    ):
        syncer.tick(minute(1))
        add(writer, visa, 5)  # open: has the default partition, and is not visible to the copy
        repairing = pool.submit(partitions.repair_default, ours)
        eventually(lambda: wants_the_outbox(conn))
        writer.commit()
        assert repairing.result(timeout=20) == 2
        syncer.tick(minute(2))
        assert ledger.newest(conn)[1:] == (1, 5)
    assert in_default(conn) == 0
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def wants_the_outbox(conn: psycopg.Connection) -> bool:
    row = conn.execute(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
        " AND relation = 'outbox'::regclass"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return row != (0,)


@pytest.mark.parametrize("statement", ["INSERT", "SELECT"])
def test_a_transaction_that_stays_open_is_reported_and_nothing_has_changed(
    dsn: str, ours: psycopg.Connection, conn: psycopg.Connection, visa: int, statement: str
) -> None:
    with psycopg.connect(dsn) as holder:
        if statement == "INSERT":
            add(holder, visa, 5)
        else:
            holder.execute("SELECT count(*) FROM outbox")
        before = conn.execute(ATTACHED).fetchall()
        with pytest.raises(Unavailable, match="lock timeout"):
            partitions.repair_default(ours)
        assert conn.execute(ATTACHED).fetchall() == before
        assert in_default(conn) == 1
        add(conn, visa, 1)  # nobody is held up by what gave up
        holder.commit()
    assert partitions.repair_default(ours) == (3 if statement == "INSERT" else 2)


def test_a_reader_that_waits_for_the_move_sees_every_row_once(
    dsn: str, ours: psycopg.Connection, conn: psycopg.Connection, visa: int
) -> None:
    add(conn, visa, 5)
    last = sql.newest_tick(conn).snapshot
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(dsn) as mover,
        psycopg.connect(dsn, autocommit=True) as reader,
    ):
        mover.execute(partitions.REPAIR_DEFAULT)
        reading = pool.submit(sql.read_fresh, reader, last)
        eventually(lambda: waits_for_relation(conn))
        mover.commit()
        assert reading.result(timeout=20).rows == 2


def waits_for_relation(conn: psycopg.Connection) -> bool:
    row = conn.execute(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return row != (0,)


@pytest.mark.parametrize(
    "function", ["minutebook_repair_default()", "minutebook_drop_partition('x')"]
)
def test_a_snapshot_from_before_the_locks_is_refused(
    conn: psycopg.Connection, visa: int, function: str
) -> None:
    conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    with pytest.raises(psycopg.errors.RaiseException, match="READ COMMITTED"):
        conn.execute(f"SELECT {function}")
    conn.execute("ROLLBACK")


def test_beside_writers_that_change_their_minds_and_a_syncer_all_is_exact(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    visa: int,
    store: "redis.Redis",
    *,
    keydb_server: servers.Keydb,
) -> None:
    stop = threading.Event()

    def write() -> int:
        written = 0
        with psycopg.connect(dsn, autocommit=True) as writer:
            while not stop.is_set():
                with writer.transaction(force_rollback=written % 3 == 0):
                    for value in (1, -2, 5):
                        add(writer, visa, value)
                written += 1
        return written

    with ThreadPoolExecutor(3) as pool, ledger.syncing(dsn, keydb_server.url()) as syncer:
        writers = [pool.submit(write) for _ in range(2)]
        try:
            number = 1
            for _ in range(4):
                eventually(lambda: in_default(conn) > 20)
                repairing = pool.submit(partitions.repair_default, ours)
                while not repairing.done():
                    syncer.fold()
                    syncer.tick(minute(number))
                    number += 1
                assert repairing.result() > 20
                name = conn.execute(
                    "SELECT 'outbox_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD_HH24')"
                ).fetchall()[0][0]
                demote(conn, name)
        finally:
            stop.set()
        assert all(writer.result(timeout=20) for writer in writers)
        partitions.repair_default(ours)
        syncer.tick(minute(number))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def demote(conn: psycopg.Connection, name: str) -> None:
    """Put the hour's rows back into the default partition, as if its own had not been made."""
    with conn.transaction():
        conn.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        conn.execute(f"ALTER TABLE outbox DETACH PARTITION {name}")
        conn.execute(f"INSERT INTO outbox OVERRIDING SYSTEM VALUE SELECT * FROM {name}")  # noqa: S608
        conn.execute(f"DROP TABLE {name}")
