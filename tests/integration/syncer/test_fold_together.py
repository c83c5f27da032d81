"""Two syncers at once under writers that insert, update, delete, copy and change their minds."""

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import redis

from services.syncer.service import Syncer
from tests.support import ledger, servers
from tests.support.ledger import add, minute

WRITERS = 4
PROVIDERS = 6
LASTING_S = 2.0


def insert(conn: psycopg.Connection, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 20)):
        add(conn, dice.randint(1, PROVIDERS), dice.randint(-1000, 1000))


def copy(conn: psycopg.Connection, dice: random.Random) -> None:
    with conn.cursor().copy(
        "COPY historical_transactions (provider_id, transaction_value) FROM STDIN"
    ) as rows:
        for _ in range(dice.randint(1, 50)):
            rows.write_row((dice.randint(1, PROVIDERS), dice.randint(-1000, 1000)))


def update(conn: psycopg.Connection, dice: random.Random) -> None:
    conn.execute(
        "UPDATE historical_transactions"
        "   SET transaction_value = transaction_value + %s, provider_id = %s"
        " WHERE id IN (SELECT id FROM historical_transactions ORDER BY random() LIMIT 5"
        "                FOR UPDATE SKIP LOCKED)",
        [dice.randint(-9, 9), dice.randint(1, PROVIDERS)],
    )


def delete(conn: psycopg.Connection, dice: random.Random) -> None:
    conn.execute(
        "DELETE FROM historical_transactions"
        " WHERE id IN (SELECT id FROM historical_transactions ORDER BY random() LIMIT 3"
        "                FOR UPDATE SKIP LOCKED)"
    )


def revalue(conn: psycopg.Connection, dice: random.Random) -> None:
    conn.execute(
        "UPDATE initial_data SET initial_value = initial_value + 1, provider_name = %s"
        " WHERE id = (SELECT id FROM initial_data WHERE id = %s FOR UPDATE SKIP LOCKED)",
        [f"name {dice.randint(1, 3)}", dice.randint(1, PROVIDERS)],
    )


CHANGES: list[Callable[[psycopg.Connection, random.Random], None]] = [
    insert, insert, copy, update, delete, revalue,
]  # fmt: skip


def write(dsn: str, seed: int, stop: threading.Event) -> int:
    dice = random.Random(seed)
    transactions = 0
    with psycopg.connect(dsn, autocommit=True) as conn:
        while not stop.is_set():
            with contextlib.suppress(psycopg.errors.DeadlockDetected), conn.transaction():
                for _ in range(dice.randint(1, 3)):
                    with conn.transaction():
                        dice.choice(CHANGES)(conn, dice)
                        if dice.random() < 0.2:
                            raise psycopg.Rollback
                if dice.random() < 0.3:
                    raise psycopg.Rollback
            transactions += 1
    return transactions


def tick(syncer: Syncer, numbers: "itertools.count[int]", seed: int, stop: threading.Event) -> int:
    dice = random.Random(seed)
    ticks = 0
    while not stop.is_set():
        if dice.random() < 0.3:
            syncer.tick(minute(next(numbers)))
            ticks += 1
        else:
            syncer.fold()
        stop.wait(dice.random() * 0.02)
    return ticks


def test_two_syncers_under_concurrent_writers_count_each_change_once(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    for number in range(PROVIDERS):
        ledger.add_provider(conn, f"provider {number}", number * 1000)
    stop = threading.Event()
    numbers = itertools.count(1)
    url = keydb_server.url()
    with (
        ledger.syncing(dsn, url) as one,
        ledger.syncing(dsn, url) as other,
        ThreadPoolExecutor(WRITERS + 2) as pool,
    ):
        writers = [pool.submit(write, dsn, seed, stop) for seed in range(WRITERS)]
        tickers = [
            pool.submit(tick, syncer, numbers, seed, stop)
            for seed, syncer in enumerate((one, other))
        ]
        ends = time.monotonic() + LASTING_S
        while time.monotonic() < ends and not any(f.done() for f in (*writers, *tickers)):
            stop.wait(0.05)
        stop.set()
        assert min(f.result() for f in writers) > 5
        assert min(f.result() for f in tickers) > 5
        one.tick(minute(next(numbers)))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)
    epochs = conn.execute("SELECT count(*), count(DISTINCT epoch), max(epoch) + 1 FROM tick")
    assert len(set(epochs.fetchone() or ())) == 1
