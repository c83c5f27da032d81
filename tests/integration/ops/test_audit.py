"""A past tick recomputed from the outbox: right for a right one, and exact about a wrong one."""

from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest
import redis

from ops.repair import audit, corrections
from services.syncer import retention, tick_store
from services.syncer.partitions import Kept
from services.syncer.service import Syncer
from shared.errors import Unanswerable
from tests.support import ledger, ops_tool, servers
from tests.support.ledger import add, minute


@pytest.fixture
def syncer(dsn: str, store: "redis.Redis", keydb_server: servers.Keydb) -> Iterator[Syncer]:
    """A syncer that publishes to an empty KeyDB, so that its epochs begin at 1."""
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        yield syncer


@pytest.fixture
def epochs(dsn: str, conn: psycopg.Connection, syncer: Syncer) -> list[int]:
    """Ticks with late commits, renames, folds between, another syncer's memory, and an end."""
    visa, other = ledger.add_provider(conn, "Visa", 1000), ledger.add_provider(conn, "Other", 7)
    syncer.tick(minute(1))
    with psycopg.connect(dsn) as late, psycopg.connect(dsn) as later:
        add(late, visa, 5)
        add(later, other, 50)
        add(conn, visa, 70)
        syncer.fold()
        conn.execute("UPDATE initial_data SET provider_name = 'V' WHERE id = %s", [visa])
        syncer.tick(minute(2))
        late.commit()
        syncer.fold()
        conn.execute("DELETE FROM historical_transactions WHERE transaction_value = 70")
        syncer.tick(minute(3))
        syncer.tick(minute(4))
        later.commit()
    add(conn, other, 1)
    syncer.tick(minute(5))
    return [epoch for (epoch,) in conn.execute("SELECT epoch FROM tick WHERE epoch > 0 ORDER BY 1")]


def test_every_tick_is_what_its_rows_add_up_to(conn: psycopg.Connection, epochs: list[int]) -> None:
    done = [audit.audit(conn, epoch=epoch) for epoch in epochs]
    assert all(one.clean for one in done)
    assert [(one.rows, one.amount) for one in done] == [
        (2, 1007),
        (3, 70),
        (2, -65),
        (0, 0),
        (2, 51),
    ]


@pytest.mark.parametrize("tick", ["²", "٣", "9" * 30, "9" * 5000], ids=str.__len__)
def test_what_names_neither_an_epoch_nor_a_time_is_a_usage_error(tick: str) -> None:
    done = ops_tool.deployment()("audit", tick)
    assert (done.code, "is not a time" in done.stderr) == (2, True), done


def test_a_boundary_names_the_tick_too(conn: psycopg.Connection, epochs: list[int]) -> None:
    done = audit.audit(conn, boundary=minute(3))
    assert (done.tick.epoch, done.tick.boundary) == (epochs[2], minute(3))
    assert done == audit.audit(conn, epoch=epochs[2])


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        ("UPDATE balance SET balance = balance + 1 WHERE epoch = 3", (1, -65, -64, 2)),
        ("DELETE FROM balance WHERE epoch = 3", (1, -65, None, 2)),
        ("INSERT INTO balance VALUES (2, 3, '2_Other', false, 8)", (2, None, 1, 0)),
        ("UPDATE outbox SET amount = 6 WHERE amount = 5", (1, -64, -65, 2)),
        ("UPDATE outbox SET provider_id = 2 WHERE amount = 5", (1, -70, -65, 1)),
    ],
)
def test_what_differs_is_named_with_its_amounts(
    conn: psycopg.Connection,
    epochs: list[int],
    statement: LiteralString,
    difference: tuple[int, int | None, int | None, int],
) -> None:
    conn.execute(statement)
    done = audit.audit(conn, epoch=3)
    assert not done.clean
    assert done.differences[0] == audit.Difference(*difference)
    assert done.differing == len(done.differences)
    assert audit.audit(conn, epoch=2).clean


def test_a_row_that_nobody_dropped_and_is_missing_is_a_difference(
    conn: psycopg.Connection, epochs: list[int]
) -> None:
    conn.execute("DELETE FROM outbox WHERE amount = 5")
    done = audit.audit(conn, epoch=3)
    assert (done.rows, done.tick.rows, done.clean) == (1, 2, False)


def test_without_differences_per_provider_the_number_of_rows_must_agree_too(
    conn: psycopg.Connection, epochs: list[int]
) -> None:
    conn.execute("UPDATE tick SET rows = 3 WHERE epoch = 5")
    done = audit.audit(conn, epoch=5)
    assert (done.differing, done.clean) == (0, False)


def test_a_tick_whose_rows_retention_dropped_cannot_be_audited_and_the_next_one_can(
    conn: psycopg.Connection, syncer: Syncer
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    conn.execute("SELECT minutebook_make_partition('2020-01-01 05:00+00')")
    conn.execute(
        "INSERT INTO outbox (provider_id, amount, operation, created_at)"
        " VALUES (1, 0, 'modified', '2020-01-01 05:30+00')"
    )
    syncer.tick(minute(1))
    add(conn, visa, 5)
    syncer.tick(minute(2))
    assert retention.run_once(conn, Kept(1, 30)).dropped == 1
    with pytest.raises(Unanswerable, match="OUTBOX_RETENTION_HOURS"):
        audit.audit(conn, epoch=1)
    assert audit.audit(conn, epoch=2).clean
    conn.execute("DELETE FROM outbox WHERE amount = 5")
    assert not audit.audit(conn, epoch=2).clean, "not dropped, missing"


def test_what_cannot_be_recomputed_is_said(conn: psycopg.Connection, epochs: list[int]) -> None:
    with pytest.raises(Unanswerable, match="baseline"):
        audit.audit(conn, epoch=0)
    with pytest.raises(Unanswerable, match="no tick 99"):
        audit.audit(conn, epoch=99)
    with pytest.raises(Unanswerable, match="no tick 2020-01-01"):
        audit.audit(conn, boundary=minute(99))
    conn.execute("DELETE FROM tick WHERE epoch <= 2")
    with pytest.raises(Unanswerable, match="before 3 was pruned"):
        audit.audit(conn, epoch=3)


def test_a_baseline_in_a_new_cluster_is_none_that_can_be_audited(
    conn: psycopg.Connection, syncer: Syncer, epochs: list[int]
) -> None:
    conn.execute("UPDATE tick SET system_identifier = system_identifier - 1")
    with pytest.raises(Unanswerable, match="another cluster"):
        audit.audit(conn, epoch=5)
    syncer.tick(minute(6))
    add(conn, 1, 5)
    syncer.tick(minute(7))
    with pytest.raises(Unanswerable, match="baseline"):
        audit.audit(conn, epoch=6)
    assert audit.audit(conn, epoch=7).clean


def test_a_tick_with_corrections_is_what_its_rows_add_up_to(
    conn: psycopg.Connection, syncer: Syncer, epochs: list[int]
) -> None:
    conn.execute("UPDATE balance SET balance = balance + 30 WHERE epoch = 5")
    assert not audit.audit(conn, epoch=5).clean
    made = corrections.correct_ledger(conn, reason="a hand slipped")
    assert made == (corrections.Correction(2, -30),)
    add(conn, 2, 4)
    syncer.tick(minute(6))
    done = audit.audit(conn, epoch=6)
    assert (done.clean, done.rows, done.amount) == (True, 2, -26)
    assert ledger.balances(conn) == ledger.truth(conn)


def test_many_rows_kept_beside_do_not_slow_it_down(
    conn: psycopg.Connection, syncer: Syncer, epochs: list[int]
) -> None:
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value)"
        " SELECT 1, 1 FROM generate_series(1, 20000)"
    )
    syncer.tick(minute(6))
    row = conn.execute("SELECT snapshot::text FROM tick WHERE epoch = 2").fetchall()
    after = conn.execute("SELECT snapshot::text FROM tick WHERE epoch = 3").fetchall()
    query = {
        "epoch": 3,
        "epoch_before": 2,
        "before": row[0][0],
        "snapshot": after[0][0],
        "differences_max": 10,
    }
    with conn.transaction():
        conn.execute(audit.INDEXES_ONLY)
        plan = conn.execute("EXPLAIN " + audit.SELECT_DIFFERENCES, query).fetchall()
    assert not [line for (line,) in plan if "Seq Scan" in line]
    assert tick_store.newest_tick(conn).epoch == 6
