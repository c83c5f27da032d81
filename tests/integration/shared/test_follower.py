"""A follower does each due tick once in order, or says that it starts anew, and why."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg
import pytest
import structlog
from prometheus_client import REGISTRY
from pydantic import Secret

from services.syncer.service import Syncer
from shared import follower_store, postgres
from shared.errors import Unavailable
from shared.follower import Follower, RowsGone
from shared.follower_store import Reason, Span, Tick
from shared.health import Health
from shared.settings import PostgresSettings
from tests.support.eventually import eventually
from tests.support.ledger import add, minute

NAME = "follower under test"
LOCKS = """
SELECT count(*)
  FROM pg_locks
 WHERE locktype = 'advisory'
   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
Position = tuple[int, str] | None


@dataclass
class Recording:
    """A work that keeps what it was asked to do; `meddle` is called within it."""

    done: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    anew: list[tuple[int, Reason]] = field(default_factory=list)
    meddle: Callable[[], None] = lambda: None

    def follow(self, span: Span) -> None:
        self.meddle()
        self.done.append(span.tick.epoch)
        self.spans.append(span)

    def start_anew(self, tick: Tick, reason: Reason) -> None:
        self.meddle()
        self.anew.append((tick.epoch, reason))


@contextlib.contextmanager
def opened(dsn: str) -> Iterator[psycopg.Connection]:
    settings = PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(settings, application="test", options=follower_store.OPTIONS) as conn:
        yield conn


@pytest.fixture
def own_conn(dsn: str) -> Iterator[psycopg.Connection]:
    with opened(dsn) as conn:
        yield conn


@pytest.fixture
def work() -> Recording:
    return Recording()


def following(*, writes: bool = False) -> Follower:
    return Follower(NAME, Health(), threading.Event(), writes=writes)


@pytest.fixture(params=[False, True], ids=["publishes", "writes"])
def follower(request: pytest.FixtureRequest) -> Follower:
    """One of each kind."""
    return following(writes=request.param)


@pytest.fixture
def begun(
    syncer: Syncer, own_conn: psycopg.Connection, follower: Follower, work: Recording
) -> Follower:
    """One that stands at the newest tick."""
    assert follower.run_once(own_conn, work) == "anew"
    assert follower.run_once(own_conn, work) == "idle"
    work.anew.clear()
    return follower


def position(conn: psycopg.Connection) -> Position:
    query = "SELECT epoch, token FROM follower WHERE name = %s"
    return conn.execute(query, [NAME]).fetchone()


def newest(conn: psycopg.Connection) -> Position:
    query = "SELECT epoch, token FROM tick WHERE NOT interim ORDER BY epoch DESC LIMIT 1"
    return conn.execute(query).fetchone()


def lag() -> tuple[float | None, float | None]:
    """Return how many ticks are not followed, and for how long one is not."""
    names = ("minutebook_follower_lag_ticks", "minutebook_follower_lag_seconds")
    ticks, seconds = (REGISTRY.get_sample_value(name) for name in names)
    return ticks, seconds


def times_anew(reason: Reason) -> float:
    name = "minutebook_follower_anew_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0


def test_a_first_start_begins_at_the_newest_due_tick(
    syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection, follower: Follower,
    work: Recording,
) -> None:  # fmt: skip
    syncer.tick(minute(2))
    before = times_anew("first_start")

    with structlog.testing.capture_logs() as logged:
        assert follower.run_once(own_conn, work) == "anew"

    assert position(conn) == newest(conn)
    assert [why for _, why in work.anew] == ["first_start"]
    assert times_anew("first_start") == before + 1
    assert [(one["event"], one["reason"]) for one in logged] == [("follower_anew", "first_start")]
    assert follower.run_once(own_conn, work) == "idle"


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
    assert work.done == second.done[:1]
    assert position(conn) == newest(conn)
    work.meddle = lambda: None
    assert frozen.run_once(own_conn, work) == "idle"
    assert not second.anew


LOST: dict[Reason, str] = {
    "first_start": "DELETE FROM follower",
    "asked": "UPDATE follower SET token = ''",
    "unknown_position": "UPDATE follower SET token = 'of another life'",
    "rows_gone": "UPDATE follower SET epoch = -1",
}


@pytest.mark.parametrize("reason", LOST)
def test_one_whose_position_is_no_tick_goes_on_from_the_present_and_says_why(
    begun: Follower, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording,
    reason: Reason,
) -> None:  # fmt: skip
    conn.execute(LOST[reason].encode())

    assert begun.run_once(own_conn, work) == "anew"

    assert [why for _, why in work.anew] == [reason]
    assert position(conn) == newest(conn)
    assert begun.run_once(own_conn, work) == "idle"


@pytest.mark.parametrize("confirmed", [True, False], ids=["moved", "not confirmed"])
def test_one_whose_last_published_tick_a_failover_lost_starts_anew_though_its_position_is_known(
    syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording,
    confirmed: bool,  # noqa: FBT001 - a parameter of the test
) -> None:  # fmt: skip
    follower = following()
    follower.run_once(own_conn, work)
    old = position(conn)
    assert old
    syncer.tick(minute(2))

    def fail() -> None:
        raise Unavailable("rabbitmq", "no confirm")

    work.anew.clear()
    if confirmed:
        follower.run_once(own_conn, work)
    else:
        work.meddle = fail
        with pytest.raises(Unavailable):
            follower.run_once(own_conn, work)
        work.meddle = lambda: None
    # The replica knew neither that tick nor that the position had moved to it.
    conn.execute("UPDATE tick SET token = 'other' WHERE epoch > %s", [old[0]])
    conn.execute("UPDATE follower SET epoch = %s, token = %s", old)

    # Nor is it forgotten if that fails in the middle, or before its position has moved.
    work.meddle = fail
    with pytest.raises(Unavailable):
        follower.run_once(own_conn, work)
    work.meddle = lambda: None
    assert follower.run_once(own_conn, work) == "anew"

    assert [why for _, why in work.anew] == ["published_lost"]
    assert position(conn) == newest(conn)
    assert follower.run_once(own_conn, work) == "idle"


def test_a_writing_one_goes_on_from_the_position_that_a_failover_left_it(
    syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection, work: Recording
) -> None:
    follower = following(writes=True)
    follower.run_once(own_conn, work)
    old = position(conn)
    assert old
    syncer.tick(minute(2))
    follower.run_once(own_conn, work)
    conn.execute("UPDATE tick SET token = 'other' WHERE epoch > %s", [old[0]])
    conn.execute("UPDATE follower SET epoch = %s, token = %s", old)

    assert follower.run_once(own_conn, work) == "followed"
    assert work.done[0] == work.done[1]


def test_a_tick_that_counts_all_anew_is_not_followed(
    begun: Follower, syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection,
    work: Recording,
) -> None:  # fmt: skip
    conn.execute("UPDATE tick SET system_identifier = 1")  # restored into another cluster
    syncer.tick(minute(2))
    syncer.tick(minute(3))

    assert begun.run_once(own_conn, work) == "anew"

    assert [why for _, why in work.anew] == ["baseline"]
    assert not work.done
    assert position(conn) == newest(conn)
    syncer.tick(minute(4))
    assert begun.run_once(own_conn, work) == "followed"


def test_one_whose_work_says_that_rows_are_gone_starts_anew(
    begun: Follower, syncer: Syncer, conn: psycopg.Connection, own_conn: psycopg.Connection,
    work: Recording,
) -> None:  # fmt: skip
    syncer.tick(minute(2))

    def gone() -> None:
        work.meddle = lambda: None
        raise RowsGone

    work.meddle = gone
    assert begun.run_once(own_conn, work) == "anew"

    assert [why for _, why in work.anew] == ["rows_gone"]
    assert position(conn) == newest(conn)


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
    given = {"name": NAME, "published_epoch": None, "published_token": None}

    plan = own_conn.execute("EXPLAIN (ANALYZE) " + follower_store.SELECT_NEXT, given)

    text = "\n".join(line for (line,) in plan)
    assert "Seq Scan on tick" not in text
    assert begun.run_once(own_conn, work) == "followed"
