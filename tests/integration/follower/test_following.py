"""A follower does each due tick once in order; of two of one name one does."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from services.syncer.service import Syncer
from shared import follower_store
from shared.errors import Unavailable
from shared.follower import Follower
from shared.health import Health
from tests.support.eventually import eventually
from tests.support.ledger import add, minute
from tests.support.recording_follower import (
    NAME,
    Recording,
    following,
    lag,
    newest,
    opened,
    position,
)

LOCKS = """
SELECT count(*)
  FROM pg_locks
 WHERE locktype = 'advisory'
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def test_ticks_that_were_missed_are_followed_each_and_in_order_with_the_rows_between(
    begun: Follower, syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection,
    work: Recording,
) -> None:  # fmt: skip
    start = position(conn)
    for number in range(2, 6):
        add(conn, 1, number)
        syncer.fold()
        syncer.prepare()  # an interim tick counts that one
        add(conn, 2, number)
        syncer.tick(minute(number))

    assert begun.run_once(own_conn, work) == "followed"
    assert lag()[0] == 4
    while begun.run_once(own_conn, work) == "followed":
        pass

    assert work.done == sorted(work.done)
    assert [one.tick.boundary for one in work.spans] == [minute(n) for n in range(2, 6)]
    assert [one.rows for one in work.spans] == [2] * 4
    befores = [one.before.position for one in work.spans]
    assert befores == [start, *(one.tick.position for one in work.spans[:-1])]
    assert position(conn) == newest(conn)
    assert lag() == (0, 0)
    assert not work.anew


def test_what_fails_is_done_again_and_the_position_stays_until_it_is_done(
    begun: Follower, syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection,
    work: Recording,
) -> None:  # fmt: skip
    def fail() -> None:
        raise Unavailable("rabbitmq", "no confirm")

    start, work.meddle = position(conn), fail
    syncer.tick(minute(2))
    with pytest.raises(Unavailable):
        begun.run_once(own_conn, work)
    assert position(conn) == start

    work.meddle = lambda: None
    assert begun.run_once(own_conn, work) == "followed"
    assert position(conn) == newest(conn)


def test_what_a_writing_follower_writes_is_there_exactly_if_its_position_moved(
    syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording
) -> None:
    conn.execute("CREATE TABLE written (epoch bigint)")
    follower = following(writes=True)
    follower.run_once(own_conn, work)
    syncer.tick(minute(2))

    def write(*, fails: bool) -> None:
        own_conn.execute("INSERT INTO written VALUES (1)")
        if fails:
            raise Unavailable("postgres", "lost")

    work.meddle = lambda: write(fails=True)
    with pytest.raises(Unavailable):
        follower.run_once(own_conn, work)
    assert conn.execute("SELECT count(*) FROM written").fetchone() == (0,)

    work.meddle = lambda: write(fails=False)
    follower.run_once(own_conn, work)
    assert conn.execute("SELECT count(*) FROM written").fetchone() == (1,)
    assert position(conn) == newest(conn)


def test_what_only_publishes_does_so_in_no_transaction(
    syncer: Syncer, own_conn: psycopg.Connection, work: Recording
) -> None:
    seen = []
    work.meddle = lambda: seen.append(own_conn.info.transaction_status.name)
    follower = following()
    follower.run_once(own_conn, work)
    syncer.tick(minute(2))
    follower.run_once(own_conn, work)

    assert seen == ["IDLE", "IDLE"]


def test_a_position_that_somebody_else_moved_meanwhile_is_left_alone(
    syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording
) -> None:
    follower = following()
    follower.run_once(own_conn, work)
    syncer.tick(minute(2))

    def move() -> None:
        conn.execute("UPDATE follower SET epoch = 7, token = 'theirs'")

    work.meddle = move
    assert follower.run_once(own_conn, work) == "overtaken"

    assert position(conn) == (7, "theirs")


def test_a_frozen_one_that_wakes_only_repeats(
    syncer: Syncer, dsn: str, conn: psycopg.Connection, own_conn: psycopg.Connection,
    work: Recording,
) -> None:  # fmt: skip
    frozen = following()
    frozen.run_once(own_conn, work)
    syncer.tick(minute(2))
    syncer.tick(minute(3))
    second = Recording()

    def overtake() -> None:
        with opened(dsn) as other:
            awake = following()
            while awake.run_once(other, second) == "followed":
                pass

    work.meddle = overtake
    assert frozen.run_once(own_conn, work) == "overtaken"
    assert work.done == second.done
    assert position(conn) == newest(conn)
    work.meddle = lambda: None
    assert frozen.run_once(own_conn, work) == "idle"
    assert not second.anew


def test_of_two_one_is_active_and_the_other_waits_until_it_ends(
    syncer: Syncer, dsn: str, own_conn: psycopg.Connection
) -> None:
    health, active = Health(), threading.Event()
    health.problem(NAME, "not connected yet")
    second = Follower(NAME, health, threading.Event())

    def wait() -> None:
        with opened(dsn) as other, second.active(other):
            active.set()

    with ThreadPoolExecutor(1) as pool:
        with following().active(own_conn):
            waiting = pool.submit(wait)
            eventually(lambda: not health.problems())  # it waits, and is healthy
            assert own_conn.execute(LOCKS).fetchone() == (1,)
            assert not active.is_set()
            own_conn.close()
        waiting.result(30)
    assert active.is_set()


def test_why_one_stands_still_is_in_its_row_until_it_goes_on(
    begun: Follower, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording
) -> None:
    query = "SELECT error, error_at IS NULL FROM follower"

    def fail() -> None:
        raise Unavailable("rabbitmq", "the broker did not take it")

    with pytest.raises(Unavailable), begun.active(own_conn):
        fail()

    assert conn.execute(query).fetchone() == ("rabbitmq: the broker did not take it", False)
    assert begun.run_once(own_conn, work) == "idle"
    assert conn.execute(query).fetchone() == (None, True)


def test_a_life_that_was_of_some_use_ends_quietly_and_one_that_was_of_none_raises(
    begun: Follower, syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection,
    work: Recording,
) -> None:  # fmt: skip
    def lose(_s: float) -> None:
        raise Unavailable("rabbitmq", "the connection was cut")

    begun.run(own_conn, work, lose)
    assert conn.execute("SELECT error FROM follower").fetchone() == (
        "rabbitmq: the connection was cut",
    )

    syncer.tick(minute(2))
    work.meddle = lambda: lose(0)
    with pytest.raises(Unavailable):
        begun.run(own_conn, work, lose)


def test_the_plan_of_a_look_reads_few_rows_however_many_ticks_there_are(
    begun: Follower, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording
) -> None:
    conn.execute(
        "INSERT INTO tick (epoch, token, snapshot, system_identifier, rows, amount, interim)"
        " SELECT 1000 + n, 'tick ' || n, pg_current_snapshot(), 1, 0, 0, n % 2 = 0"
        "   FROM generate_series(1, 20000) n"
    )
    conn.execute("ANALYZE tick")
    conn.execute("UPDATE follower SET epoch = 11001, token = 'tick 10001'")
    given = {"name": NAME, "published_epoch": None, "published_token": None, "ticks_max": 1}

    plan = own_conn.execute("EXPLAIN (ANALYZE) " + follower_store.SELECT_NEXT, given)

    text = "\n".join(line for (line,) in plan)
    assert "Seq Scan on tick" not in text
    assert begun.run_once(own_conn, work) == "followed"
