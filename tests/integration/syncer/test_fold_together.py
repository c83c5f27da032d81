"""Two syncers at once under writers that insert, update, delete, copy and change their minds."""

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import redis

from services.syncer.service import Syncer
from tests.support import ledger, servers
from tests.support.ledger import add, minute

WRITERS = 4
PROVIDERS = 6
LASTING_S, LASTING_MAX_S = 2.0, 60.0
DONE_MIN = 6
"""On a machine that has much else to do, it goes on until everybody has done so much."""

Done = Counter[str]
"""How many transactions each writer did, and how many ticks each syncer."""


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


def write(dsn: str, seed: int, stop: threading.Event, done: Done) -> None:
    dice = random.Random(seed)
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
            done[f"writer {seed}"] += 1


def tick(
    syncer: Syncer, numbers: "itertools.count[int]", seed: int, stop: threading.Event, done: Done
) -> None:
    dice = random.Random(seed)
    while not stop.is_set():
        if dice.random() < 0.3:
            syncer.tick(minute(next(numbers)))
            done[f"syncer {seed}"] += 1
        else:
            syncer.fold()
        stop.wait(dice.random() * 0.02)


def enough(done: Done, lasted_s: float) -> bool:
    if lasted_s > LASTING_S and len(done) == WRITERS + 2 and min(done.values()) >= DONE_MIN:
        return True
    return lasted_s > LASTING_MAX_S


def test_two_syncers_under_concurrent_writers_count_each_change_once(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    for number in range(PROVIDERS):
        ledger.add_provider(conn, f"provider {number}", number * 1000)
    stop, done = threading.Event(), Done()
    numbers = itertools.count(1)
    url = keydb_server.url()
    with (
        ledger.syncing(dsn, url) as one,
        ledger.syncing(dsn, url) as other,
        ThreadPoolExecutor(WRITERS + 2) as pool,
    ):
        at_work = [pool.submit(write, dsn, seed, stop, done) for seed in range(WRITERS)]
        at_work += [
            pool.submit(tick, syncer, numbers, seed, stop, done)
            for seed, syncer in enumerate((one, other))
        ]
        begun = time.monotonic()
        while not enough(done, time.monotonic() - begun) and not any(f.done() for f in at_work):
            stop.wait(0.05)
        stop.set()
        for future in at_work:
            future.result()
        assert len(done) == len(at_work)
        assert min(done.values()) >= DONE_MIN
        one.tick(minute(next(numbers)))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)
    epochs = conn.execute("SELECT count(*), count(DISTINCT epoch), max(epoch) + 1 FROM tick")
    assert len(set(epochs.fetchone() or ())) == 1
