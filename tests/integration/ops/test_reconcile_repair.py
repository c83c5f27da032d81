"""Repairs: corrections that converge at the next tick, whoever writes meanwhile; a full send."""

import contextlib
import itertools
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops.repair import audit, corrections
from ops.repair.corrections import Correction
from reconciliation import reconcile
from services.syncer import tick_store
from services.syncer.projection import Projection
from services.syncer.service import Syncer
from tests.support import ledger, servers
from tests.support.eventually import eventually
from tests.support.ledger import add, minute
from tests.support.manual_changes import behind_the_triggers

BECAUSE = "loaded with triggers disabled"
CORRECTIONS: LiteralString = (
    "SELECT provider_id, amount::bigint, reason, transaction_id FROM outbox"
    " WHERE operation = 'repaired' ORDER BY id"
)


@pytest.fixture
def syncer(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> Iterator[Syncer]:
    """A syncer over providers 1 Visa (1000), 2 Mastercard (2000) and 3 Amex (3000), shown."""
    for name, initial in (("Visa", 1000), ("Mastercard", 2000), ("Amex", 3000)):
        ledger.add_provider(conn, name, initial)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        yield syncer


def drift(conn: psycopg.Connection) -> None:
    """Visa lacks 5, Mastercard has 7 too much, Amex has another name."""
    behind_the_triggers(
        conn,
        "INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (1, 5)",
        "UPDATE initial_data SET initial_value = initial_value - 7 WHERE id = 2",
        "UPDATE initial_data SET provider_name = 'AX' WHERE id = 3",
    )


def test_balances_and_keys_are_those_of_the_tables_at_the_next_tick(
    conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer, projection: Projection
) -> None:
    drift(conn)
    add(conn, 1, 100)
    done = corrections.repair(conn, projection, reason=BECAUSE)
    assert done.corrections == (Correction(1, 5), Correction(2, -7), Correction(3, 0))
    assert not done.resending
    assert reconcile.run(conn, projection).drifting == 0, "the correction counts, unfolded"
    syncer.tick(minute(2))
    ledger.assert_right(conn, store)
    assert reconcile.run(conn, projection).drifting == 0
    assert audit.audit(conn, boundary=minute(2)).clean
    rows = [(1, 5, BECAUSE, None), (2, -7, BECAUSE, None), (3, 0, BECAUSE, None)]
    assert conn.execute(CORRECTIONS).fetchall() == rows


def test_where_nothing_differs_there_is_nothing_to_repair(
    conn: psycopg.Connection, syncer: Syncer, projection: Projection
) -> None:
    add(conn, 1, 5)
    watermark = projection.read()
    done = corrections.repair(conn, projection, reason=BECAUSE)
    assert done == corrections.Repaired((), resending=False)
    assert projection.read() == watermark


def test_of_two_repairs_at_once_the_second_finds_nothing(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer
) -> None:
    drift(conn)
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(dsn) as first,
        psycopg.connect(dsn, autocommit=True) as second,
        psycopg.connect(dsn, autocommit=True) as watch,
    ):
        first.execute(corrections.LOCK)
        assert first.execute(corrections.INSERT_CORRECTIONS, {"reason": BECAUSE}).rowcount == 3
        late = pool.submit(corrections.correct_ledger, second, reason="again")
        eventually(lambda: ledger.waits_for_advisory_lock(watch))
        first.commit()
        assert late.result(timeout=60) == ()
    syncer.tick(minute(2))
    ledger.assert_right(conn, store)


def test_a_repair_that_is_still_open_at_a_tick_counts_at_the_next_one(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer
) -> None:
    drift(conn)
    with psycopg.connect(dsn) as slow:
        slow.execute(corrections.INSERT_CORRECTIONS, {"reason": BECAUSE})
        add(conn, 1, 100)
        syncer.tick(minute(2))
        assert ledger.balances(conn)["1_Visa"] == "1100"
        slow.commit()
    syncer.tick(minute(3))
    ledger.assert_right(conn, store)


def test_beside_writers_ticks_and_other_repairs_all_converges(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer
) -> None:
    stop = threading.Event()

    def write(seed: int) -> None:
        dice = random.Random(seed)
        with psycopg.connect(dsn, autocommit=True) as writer:
            while not stop.is_set():
                with writer.transaction(force_rollback=dice.random() < 0.3):
                    add(writer, dice.randint(1, 3), dice.randint(-50, 50))
                    writer.execute(
                        "UPDATE initial_data SET initial_value = %s WHERE id = 1",
                        [dice.randint(0, 99)],
                    )

    found = threading.Event()

    def mend() -> None:
        with psycopg.connect(dsn, autocommit=True) as mender:
            for turn in itertools.count(1):
                if corrections.correct_ledger(mender, reason=BECAUSE):
                    found.set()
                if (turn >= 15 and found.is_set()) or stop.is_set():
                    return

    with ThreadPoolExecutor(4) as pool, contextlib.ExitStack() as ending:
        ending.callback(stop.set)
        writers = [pool.submit(write, seed) for seed in (1, 2)]
        menders = [pool.submit(mend) for _ in range(2)]
        number = 1
        while not all(one.done() for one in menders):
            number += 1
            behind_the_triggers(
                conn, "UPDATE historical_transactions SET transaction_value = 1 WHERE id % 5 = 0"
            )
            syncer.fold()
            syncer.tick(minute(number))
        stop.set()
        for one in (*menders, *writers):
            one.result(timeout=60)
    corrections.correct_ledger(conn, reason=BECAUSE)
    assert corrections.correct_ledger(conn, reason=BECAUSE) == ()
    syncer.tick(minute(number + 1))
    ledger.assert_right(conn, store)
    assert audit.audit(conn, boundary=minute(number + 1)).clean


def test_a_correction_says_why_and_nothing_else_does(conn: psycopg.Connection) -> None:
    for reason in ("", "  ", "x" * 1001):
        with pytest.raises(ValueError, match="reason"):
            corrections.correct_ledger(conn, reason=reason)
    for row in (("repaired", None), ("added", "why"), ("other", None)):
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(
                "INSERT INTO outbox (provider_id, amount, operation, reason) VALUES (1, 5, %s, %s)",
                row,
            )


def test_in_a_new_cluster_the_baseline_repairs_and_we_do_not(
    conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer
) -> None:
    drift(conn)
    conn.execute("UPDATE tick SET system_identifier = system_identifier - 1")
    assert corrections.correct_ledger(conn, reason=BECAUSE) == ()
    syncer.tick(minute(2))
    ledger.assert_right(conn, store)


STEP = st.tuples(
    st.sampled_from(["row", "hidden row", "hidden value", "hidden name", "tick", "fold", "repair"]),
    st.integers(1, 3),
    st.integers(-(2**62), 2**62),
)


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(STEP, max_size=12))
def test_whatever_drifted_in_whatever_order_a_repair_and_a_tick_make_it_right(
    conn: psycopg.Connection,
    store: "redis.Redis",
    syncer: Syncer,
    projection: Projection,
    *,
    steps: list[tuple[str, int, int]],
) -> None:
    for what, provider, amount in steps:
        take(what, provider, amount, conn, syncer)
    corrections.correct_ledger(conn, reason=BECAUSE)
    newest = take("tick", 0, 0, conn, syncer)
    ledger.assert_right(conn, store)
    assert reconcile.run(conn, projection).drifting == 0
    assert audit.audit(conn, epoch=newest).clean


def take(what: str, provider: int, amount: int, conn: psycopg.Connection, syncer: Syncer) -> int:
    row = "INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (%s, %s)"
    if what == "row":
        conn.execute(row, [provider, amount])
    elif what == "tick":
        syncer.tick(minute(tick_store.newest_tick(conn).epoch + 1))
    elif what == "fold":
        syncer.fold()
    elif what == "repair":
        corrections.correct_ledger(conn, reason=BECAUSE)
    else:
        with conn.transaction():
            conn.execute("SET LOCAL session_replication_role = replica")
            if what == "hidden row":
                conn.execute(row, [provider, amount])
            elif what == "hidden value":
                query = "UPDATE initial_data SET initial_value = %s WHERE id = %s"
                conn.execute(query, [amount, provider])
            else:
                query = "UPDATE initial_data SET provider_name = %s WHERE id = %s"
                conn.execute(query, [f"n{amount}", provider])
    return tick_store.newest_tick(conn).epoch
