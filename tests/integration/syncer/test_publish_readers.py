"""What a reader sees who takes the keys and the watermark in one MULTI."""

import itertools
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import redis

from services.syncer.projection import KEYS_KEY, WATERMARK_KEY
from services.syncer.service import Syncer
from tests.support import ledger, servers
from tests.support.ledger import add, minute

PROVIDERS = 5
LASTING_S = 2.5
LASTING_MAX_S = 60.0
"""On a machine that has much else to do, it goes on until there were ticks enough to be seen."""
EPOCHS_MIN = 10
TICK_S = 0.05
FLUSH_READS_MAX = 200

Seen = tuple[int, str, dict[str, str]]

pytestmark = servers.on_both_stores


def read(store: "redis.Redis", ids: range) -> Seen | None:
    """Return epoch, token and every key of the providers, or None of an empty store."""
    names = [f"{number}_{letter}" for number in ids for letter in "ab"]
    with store.pipeline(transaction=True) as pipe:
        pipe.hmget(WATERMARK_KEY, ["epoch", "token"])
        pipe.smembers(KEYS_KEY)
        pipe.mget(names)
        (epoch, token), keys, values = pipe.execute()
    held = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    assert keys == set(held), "the set of our keys is another than the keys that are there"
    if epoch is None:
        assert not held
        return None
    return int(epoch), token, held


def watch(store: "redis.Redis", ids: range, stop: threading.Event) -> tuple[list[Seen], int]:
    """Read all the time, empty the store now and then; returns what was seen, and how many epochs.

    Fails when the epoch goes back without the store having been emptied.
    """
    dice = random.Random(1)
    seen: list[Seen] = []
    floor = flushes = 0
    until_flush = FLUSH_READS_MAX // 10
    while not stop.is_set():
        found = read(store, ids)
        if found:
            assert found[0] >= floor, f"epoch {found[0]} after {floor}"
            floor = found[0]
            seen.append(found)
        until_flush -= 1
        if not until_flush:
            store.flushall()
            until_flush = dice.randint(1, FLUSH_READS_MAX)
            floor = 0
            flushes += 1
    return seen, flushes


def change(dsn: str, ids: range, stop: threading.Event) -> None:
    dice = random.Random(2)
    with psycopg.connect(dsn, autocommit=True) as conn:
        while not stop.is_set():
            if dice.random() < 0.1:
                conn.execute(
                    "UPDATE initial_data SET provider_name ="
                    " CASE provider_name WHEN 'a' THEN 'b' ELSE 'a' END WHERE id = %s",
                    [dice.choice(ids)],
                )
            add(conn, dice.choice(ids), dice.randint(-9, 9))


def tick(syncer: Syncer, numbers: "itertools.count[int]", stop: threading.Event) -> None:
    while not stop.wait(TICK_S):
        syncer.fold()
        syncer.tick(minute(next(numbers)))


def enough(conn: psycopg.Connection, lasted_s: float) -> bool:
    if lasted_s > LASTING_S and ledger.newest(conn)[0] > 4 * EPOCHS_MIN:
        return True
    return lasted_s > LASTING_MAX_S


def test_a_reader_never_sees_two_ticks_mixed_nor_the_epoch_go_back(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    for _ in range(PROVIDERS):
        ledger.add_provider(conn, "a", 100)
    ids = range(1, PROVIDERS + 1)
    stop = threading.Event()
    numbers = itertools.count(1)
    url = keydb_server.url()
    with (
        ledger.syncing(dsn, url) as one,
        ledger.syncing(dsn, url) as other,
        ThreadPoolExecutor(4) as pool,
    ):
        reader = pool.submit(watch, store, ids, stop)
        others = [
            pool.submit(tick, one, numbers, stop),
            pool.submit(tick, other, numbers, stop),
            pool.submit(change, dsn, ids, stop),
        ]
        begun = time.monotonic()
        while not enough(conn, time.monotonic() - begun):
            if reader.done() or any(future.done() for future in others):
                break
            stop.wait(0.05)
        stop.set()
        for future in others:
            future.result()
        seen, flushes = reader.result()
        one.tick(minute(next(numbers)))
    ledger.assert_right(conn, store)
    tokens: dict[int, str] = dict(conn.execute("SELECT epoch, token FROM tick").fetchall())
    distinct = {(epoch, token, tuple(values.items())) for epoch, token, values in seen}
    for epoch, token, values in distinct:
        assert tokens[epoch] == token
        assert dict(values) == ledger.balances(conn, epoch), f"mixed at epoch {epoch}"
    assert len({epoch for epoch, _, _ in seen}) > EPOCHS_MIN
    assert flushes
