"""Rows of the default partition go where they belong: none lost, none counted twice."""

from typing import Any, LiteralString

import psycopg
import pytest
import redis

from ops.repair import audit, partitions
from services.syncer import retention, tick_store
from services.syncer.partitions import Kept
from shared.errors import Unavailable
from tests.support import ledger, servers
from tests.support.ledger import add, minute
from tests.support.partitions import ATTACHED, in_default

ROWS: LiteralString = "SELECT to_jsonb(o) FROM outbox o ORDER BY o.id"
WHERE: LiteralString = "SELECT DISTINCT tableoid::regclass::text FROM outbox ORDER BY 1"


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
    stray_visa: int,
    store: "redis.Redis",
    *,
    keydb_server: servers.Keydb,
    folding: bool,
) -> None:
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        add(conn, stray_visa, 5)
        backdate(conn, 3, 30)
        syncer.tick(minute(1))
        add(conn, stray_visa, 7)
        backdate(conn, 1, 3)
        if folding:
            assert syncer.fold().rows == 3
        before: list[Any] = conn.execute(ROWS).fetchall()
        assert partitions.repair_default(ours) == len(before) == 7
        assert conn.execute(ROWS).fetchall() == before
        assert in_default(conn) == 0
        assert len(conn.execute(WHERE).fetchall()) == 4
        syncer.fold()
        add(conn, stray_visa, 11)
        syncer.tick(minute(2))
        assert ledger.newest(conn)[1:] == (4, 18)
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)
    assert audit.audit(conn, epoch=1).clean
    assert audit.audit(conn, epoch=2).clean


def test_afterwards_upkeep_makes_and_drops_partitions_as_ever(
    ours: psycopg.Connection, conn: psycopg.Connection, stray_visa: int
) -> None:
    backdate(conn, 30)
    partitions.repair_default(ours)
    made = conn.execute(ATTACHED).fetchall()
    with conn.transaction():
        tick_store.lock_ticks(conn)
        ledger.tick_within(conn, minute(1))
    done = retention.run_once(ours, Kept(24, 30))
    assert done.dropped == 1
    assert done.made in {1, 2}, "the rest of these four hours, if there is any, and the next ones"
    assert len(conn.execute(ATTACHED).fetchall()) == len(made) + done.made - 1
    constraints = conn.execute(
        "SELECT DISTINCT array_agg(conname::text ORDER BY conname) FROM pg_constraint"
        " WHERE contype = 'c' AND conrelid::regclass::text ~ '^outbox(_default|_2)'"
        " GROUP BY conrelid"
    ).fetchall()
    assert constraints == [(["outbox_operation_check", "outbox_reason_check"],)]
    add(conn, stray_visa, 1)
    assert in_default(conn) == 0


def test_an_empty_default_partition_is_left_alone(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    before = conn.execute(ATTACHED).fetchall()
    assert partitions.repair_default(ours) == 0
    assert conn.execute(ATTACHED).fetchall() == before


@pytest.mark.parametrize("statement", ["INSERT", "SELECT"])
def test_a_transaction_that_stays_open_is_reported_and_nothing_has_changed(
    dsn: str, ours: psycopg.Connection, conn: psycopg.Connection, stray_visa: int, statement: str
) -> None:
    with psycopg.connect(dsn) as holder:
        if statement == "INSERT":
            add(holder, stray_visa, 5)
        else:
            holder.execute("SELECT count(*) FROM outbox")
        before = conn.execute(ATTACHED).fetchall()
        with pytest.raises(Unavailable, match="lock timeout"):
            partitions.repair_default(ours)
        assert conn.execute(ATTACHED).fetchall() == before
        assert in_default(conn) == 1
        add(conn, stray_visa, 1)  # nobody is held up by what gave up
        holder.commit()
    assert partitions.repair_default(ours) == (3 if statement == "INSERT" else 2)


@pytest.mark.parametrize(
    "function", ["minutebook_repair_default()", "minutebook_drop_partition('x')"]
)
def test_a_snapshot_from_before_the_locks_is_refused(
    conn: psycopg.Connection, stray_visa: int, function: str
) -> None:
    conn.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    with pytest.raises(psycopg.errors.RaiseException, match="READ COMMITTED"):
        conn.execute(f"SELECT {function}")
    conn.execute("ROLLBACK")
