"""The gap: ids are taken before commits, so rows become visible out of order; none is lost."""

from collections.abc import Callable

import psycopg
import pytest
import redis

from tests.support import ledger, servers
from tests.support.ledger import add, minute, newest

Finish = Callable[[], object]
Opening = Callable[[psycopg.Connection, int], Finish]


def committed(conn: psycopg.Connection, provider: int) -> Finish:
    conn.execute("BEGIN")
    add(conn, provider, 100)
    return lambda: conn.execute("COMMIT")


def rolled_back(conn: psycopg.Connection, provider: int) -> Finish:
    conn.execute("BEGIN")
    add(conn, provider, 100)
    return lambda: conn.execute("ROLLBACK")


def savepoint_released(conn: psycopg.Connection, provider: int) -> Finish:
    conn.execute("BEGIN")
    conn.execute("SAVEPOINT a")
    add(conn, provider, 100)
    conn.execute("RELEASE a")
    return lambda: conn.execute("COMMIT")


def savepoint_left_open(conn: psycopg.Connection, provider: int) -> Finish:
    conn.execute("BEGIN")
    add(conn, provider, 30)
    conn.execute("SAVEPOINT a")
    add(conn, provider, 70)
    return lambda: conn.execute("COMMIT")


def savepoint_rolled_back(conn: psycopg.Connection, provider: int) -> Finish:
    conn.execute("BEGIN")
    add(conn, provider, 30)
    conn.execute("SAVEPOINT a")
    add(conn, provider, 70)
    conn.execute("ROLLBACK TO a")
    return lambda: conn.execute("COMMIT")


def savepoints_beyond_the_cache(conn: psycopg.Connection, provider: int) -> Finish:
    conn.execute("BEGIN")
    for _ in range(100):  # Postgres keeps 64 subtransactions of a backend at hand
        conn.execute("SAVEPOINT a")
        add(conn, provider, 1)
    return lambda: conn.execute("COMMIT")


def prepared(conn: psycopg.Connection, provider: int) -> Finish:
    gid = f"{conn.info.dbname}-a"
    conn.execute("BEGIN")
    add(conn, provider, 100)
    conn.execute(f"PREPARE TRANSACTION '{gid}'")
    return lambda: conn.execute(f"COMMIT PREPARED '{gid}'")


def prepared_and_rolled_back(conn: psycopg.Connection, provider: int) -> Finish:
    gid = f"{conn.info.dbname}-a"
    conn.execute("BEGIN")
    add(conn, provider, 100)
    conn.execute(f"PREPARE TRANSACTION '{gid}'")
    return lambda: conn.execute(f"ROLLBACK PREPARED '{gid}'")


def copied(conn: psycopg.Connection, provider: int) -> Finish:
    conn.execute("BEGIN")
    with conn.cursor().copy(
        "COPY historical_transactions (provider_id, transaction_value) FROM STDIN"
    ) as copy:
        for _ in range(50):
            copy.write_row((provider, 2))
    return lambda: conn.execute("COMMIT")


@pytest.mark.parametrize("idle", [False, True], ids=["alone", "beside-an-idle-transaction"])
@pytest.mark.parametrize("folding", [False, True], ids=["tick-only", "folding-between"])
@pytest.mark.parametrize(
    ("open_transaction", "amount", "rows"),
    [
        (committed, 100, 1),
        (rolled_back, 0, 0),
        (savepoint_released, 100, 1),
        (savepoint_left_open, 100, 2),
        (savepoint_rolled_back, 30, 1),
        (savepoints_beyond_the_cache, 100, 100),
        (prepared, 100, 1),
        (prepared_and_rolled_back, 0, 0),
        (copied, 100, 50),
    ],
)
def test_a_transaction_that_ends_after_a_later_one_counts_once_in_the_tick_after_its_end(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    *,
    open_transaction: Opening,
    amount: int,
    rows: int,
    folding: bool,
    idle: bool,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with (
        ledger.syncing(dsn, keydb_server.url()) as syncer,
        psycopg.connect(dsn, autocommit=True) as a,
        psycopg.connect(dsn, autocommit=True) as idler,
    ):
        fold = syncer.fold if folding else lambda: None
        if idle:
            idler.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            idler.execute("SELECT pg_current_xact_id(), count(*) FROM outbox")
        syncer.tick(minute(1))
        finish = open_transaction(a, visa)
        fold()
        add(conn, visa, 7)
        fold()
        syncer.tick(minute(2))
        assert newest(conn)[1:] == (1, 7)
        assert ledger.shown(store) == {f"{visa}_Visa": "1007"}
        fold()
        finish()
        fold()
        syncer.tick(minute(3))
        assert newest(conn)[1:] == (rows, amount)
        fold()
        syncer.tick(minute(4))
        assert newest(conn)[1:] == (0, 0)
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def test_what_commits_between_two_folds_is_read_by_the_second_only(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa")
    with (
        ledger.syncing(dsn, keydb_server.url()) as syncer,
        psycopg.connect(dsn, autocommit=True) as a,
    ):
        syncer.tick(minute(1))
        finish = committed(a, visa)
        add(conn, visa, 7)
        assert syncer.fold().rows == 1
        finish()
        assert syncer.fold().rows == 1
        assert syncer.fold().rows == 0
        syncer.tick(minute(2))
    assert newest(conn)[1:] == (2, 107)
    ledger.assert_right(conn, store)


def test_a_fold_writes_nothing(
    dsn: str, conn: psycopg.Connection, keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa")
    add(conn, visa, 7)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        before = conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
        assert syncer.fold().rows == 2
        assert syncer.fold().rows == 0
        after = conn.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
    assert before == after, "a transaction id was taken"
