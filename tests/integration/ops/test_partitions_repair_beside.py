"""Rows of the default partition move beside all that is at work: none lost, none counted twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import redis

from ops.repair import partitions
from services.syncer import tick_store
from tests.support import ledger, servers
from tests.support.eventually import eventually
from tests.support.ledger import add, minute
from tests.support.partitions import in_default, made


def test_a_row_that_commits_while_others_are_copied_is_moved_too(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    stray_visa: int,
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
        add(writer, stray_visa, 5)  # open, and not visible to the copy
        repairing = pool.submit(partitions.repair_default, ours)
        eventually(lambda: wants_the_outbox(conn))
        writer.commit()
        assert repairing.result(timeout=60) == 2
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


def test_a_reader_that_waits_for_the_move_sees_every_row_once(
    dsn: str, ours: psycopg.Connection, conn: psycopg.Connection, stray_visa: int
) -> None:
    add(conn, stray_visa, 5)
    last = tick_store.newest_tick(conn).snapshot
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(dsn) as mover,
        psycopg.connect(dsn, autocommit=True) as reader,
    ):
        mover.execute(partitions.REPAIR_DEFAULT)
        reading = pool.submit(tick_store.read_fresh, reader, last)
        eventually(lambda: waits_for_relation(conn))
        mover.commit()
        assert reading.result(timeout=60).rows == 2


def waits_for_relation(conn: psycopg.Connection) -> bool:
    row = conn.execute(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchone()
    return row != (0,)


def test_beside_writers_that_change_their_minds_and_a_syncer_all_is_exact(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    stray_visa: int,
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
                        add(writer, stray_visa, value)
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
                for name in made(conn):  # two, if an hour has ended meanwhile
                    demote(conn, name)
        finally:
            stop.set()
        assert all(writer.result(timeout=60) for writer in writers)
        partitions.repair_default(ours)
        syncer.tick(minute(number))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def demote(conn: psycopg.Connection, name: str) -> None:
    """Put an hour's rows back into the default partition, as if its own had not been made."""
    with conn.transaction():
        conn.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        conn.execute(f"ALTER TABLE outbox DETACH PARTITION {name}")
        conn.execute(f"INSERT INTO outbox OVERRIDING SYSTEM VALUE SELECT * FROM {name}")  # noqa: S608
        conn.execute(f"DROP TABLE {name}")
