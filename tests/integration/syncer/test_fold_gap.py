"""The gap: ids are taken before commits, so rows become visible out of order; none is lost."""

import psycopg
import pytest
import redis

from tests.support import ledger, servers
from tests.support.ledger import add, minute, newest

TRANSACTIONS: dict[str, tuple[list[int | str], str, int, int]] = {
    "committed": ([100], "COMMIT", 100, 1),
    "rolled-back": ([100], "ROLLBACK", 0, 0),
    "savepoint-released": (["SAVEPOINT a", 100, "RELEASE a"], "COMMIT", 100, 1),
    "savepoint-left-open": ([30, "SAVEPOINT a", 70], "COMMIT", 100, 2),
    "savepoint-rolled-back": ([30, "SAVEPOINT a", 70, "ROLLBACK TO a"], "COMMIT", 30, 1),
    # Postgres keeps 64 subtransactions of a backend at hand.
    "savepoints-beyond-the-cache": (["SAVEPOINT a", 1] * 100, "COMMIT", 100, 100),
    "prepared": ([100, "PREPARE TRANSACTION '{gid}'"], "COMMIT PREPARED '{gid}'", 100, 1),
    "prepared-and-rolled-back": (
        [100, "PREPARE TRANSACTION '{gid}'"],
        "ROLLBACK PREPARED '{gid}'",
        0,
        0,
    ),
    "copied": (["COPY"], "COMMIT", 100, 50),
}
"""What is done in a transaction (a number: a row of that amount), how it ends, and what it adds."""


def run(conn: psycopg.Connection, provider: int, *steps: int | str) -> None:
    """Take steps of a transaction. The name of one that is prepared is the database's own."""
    for step in steps:
        if isinstance(step, int):
            add(conn, provider, step)
        elif step == "COPY":
            copy_rows(conn, provider)
        else:
            conn.execute(step.format(gid=conn.info.dbname).encode())


def copy_rows(conn: psycopg.Connection, provider: int) -> None:
    with conn.cursor().copy(
        "COPY historical_transactions (provider_id, transaction_value) FROM STDIN"
    ) as copy:
        for _ in range(50):
            copy.write_row((provider, 2))


@pytest.mark.parametrize("idle", [False, True], ids=["alone", "beside-an-idle-transaction"])
@pytest.mark.parametrize("folding", [False, True], ids=["tick-only", "folding-between"])
@pytest.mark.parametrize(
    ("steps", "end", "amount", "rows"), TRANSACTIONS.values(), ids=TRANSACTIONS.keys()
)
def test_a_transaction_that_ends_after_a_later_one_counts_once_in_the_tick_after_its_end(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    *,
    steps: list[int | str],
    end: str,
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
        run(a, visa, "BEGIN", *steps)
        fold()
        add(conn, visa, 7)
        fold()
        syncer.tick(minute(2))
        assert newest(conn)[1:] == (1, 7)
        assert ledger.shown(store) == {f"{visa}_Visa": "1007"}
        fold()
        run(a, visa, end)
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
        run(a, visa, "BEGIN", 100)
        add(conn, visa, 7)
        assert syncer.fold().rows == 1
        run(a, visa, "COMMIT")
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
