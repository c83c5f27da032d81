"""Clocks that step: no boundary twice downstream, no flood, none skipped silently, no freeze."""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

import psycopg
import redis
from prometheus_client import REGISTRY
from pydantic import Secret

from services.syncer.service import Syncer
from services.ticker.__main__ import Ticker, TickerSettings
from shared.health import Health
from tests.support import ledger, loss_scenario, servers
from tests.support.beside import beside
from tests.support.eventually import eventually
from tests.support.ledger import add

REFUSED = "minutebook_refused_boundaries_total"
PUBLISHED = "minutebook_ticks_published_total"
MISSED = "minutebook_ticks_missed_total"
STEPPED_BACK = "minutebook_clock_stepped_back_total"
FALSE = "minutebook_false_boundaries_total"


class SteppedClock:
    """The system's clock, set forward or back."""

    off_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.off_s


@contextlib.contextmanager
def ticking(amqp_url: str, clock: SteppedClock) -> Iterator[None]:
    """Run a ticker in a thread, every second by `clock`."""
    stop = threading.Event()
    ticker = Ticker(1, Health(), stop, clock)
    settings = TickerSettings(rabbitmq_url=Secret(amqp_url), metrics_port=0)
    with beside(partial(ticker.live, settings), stop.set):
        yield


def count(name: str) -> float:
    return REGISTRY.get_sample_value(name) or 0.0


def boundaries(conn: psycopg.Connection) -> list[float]:
    query = "SELECT extract(epoch FROM boundary)::float8 FROM tick WHERE epoch > 0 ORDER BY epoch"
    return [at for (at,) in conn.execute(query)]


def goes_on(conn: psycopg.Connection, ticks: int = 2) -> None:
    before = len(boundaries(conn))
    eventually(lambda: len(boundaries(conn)) >= before + ticks)


def test_a_tickers_clock_that_steps_forward_and_back_repeats_no_boundary_and_floods_nobody(
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    loss_scenario.providers(conn)
    clock = SteppedClock()
    began = time.monotonic()
    counters = {name: count(name) for name in (PUBLISHED, MISSED, STEPPED_BACK)}
    with (
        loss_scenario.syncer(dsn, amqp_url, keydb_server.url()) as syncer,
        ticking(amqp_url, clock),
    ):
        goes_on(conn)
        clock.off_s = 600  # the syncer refuses what is in Postgres's future
        eventually(lambda: syncer.metric(REFUSED) >= 2)
        # A busy machine may miss some more, but none twice.
        assert 597 <= count(MISSED) - counters[MISSED] <= 602 + time.monotonic() - began
        clock.off_s = 0
        goes_on(conn)
        assert count(STEPPED_BACK) == counters[STEPPED_BACK] + 1
        clock.off_s = -300  # boundaries that were there already, and some that never were
        eventually(lambda: count(STEPPED_BACK) == counters[STEPPED_BACK] + 2)
        sent = count(PUBLISHED)
        eventually(lambda: count(PUBLISHED) >= sent + 2)
        clock.off_s = 0
        goes_on(conn)
        took_s = time.monotonic() - began
        assert count(PUBLISHED) - counters[PUBLISHED] <= took_s + 10
        written = boundaries(conn)
        assert written == sorted(set(written))
        assert written[-1] <= time.time() + 1
        eventually(lambda: ledger.shown(store) == ledger.truth(conn))


def now(conn: psycopg.Connection, ahead_s: float = 0) -> datetime:
    row = conn.execute("SELECT date_trunc('second', clock_timestamp())").fetchone()
    assert row
    at: datetime = row[0]
    return at + timedelta(seconds=ahead_s)


def write(conn: psycopg.Connection, boundary: datetime) -> None:
    """Write a tick as a syncer does beside a Postgres whose clock shows `boundary`."""
    with conn.transaction():
        ledger.tick_within(conn, boundary)


def test_boundaries_of_a_time_that_postgres_left_again_do_not_freeze_keydb(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(now(conn, -120))
        for ahead_s in (-60, 0, 3600, 3660):  # an hour is lost, and found again
            add(conn, visa, 5)
            write(conn, now(conn, ahead_s))
        syncer.publisher.publish()
        shown = int(ledger.watermark(store)[0])
        before = count(FALSE)
        assert goes_right(syncer, conn, store, now(conn, -30)) == shown + 1
        assert count(FALSE) == before + 3
        assert boundaries_known(conn) == [True, True, False, False, False, True]
        assert goes_right(syncer, conn, store, now(conn)) == shown + 2
        assert count(FALSE) == before + 3
    ledger.assert_counted_once(conn)


def goes_right(
    syncer: Syncer, conn: psycopg.Connection, store: "redis.Redis", boundary: datetime
) -> int:
    """Tick once after a change; returns the epoch that KeyDB then shows."""
    add(conn, 1, 7)
    assert syncer.tick(boundary).state == "applied"
    ledger.assert_right(conn, store)
    return int(ledger.watermark(store)[0])


def boundaries_known(conn: psycopg.Connection) -> list[bool]:
    query = "SELECT boundary IS NOT NULL FROM tick WHERE epoch > 0 ORDER BY epoch"
    return [known for (known,) in conn.execute(query)]


def test_a_clock_that_was_set_back_a_little_shows_no_boundary_twice(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        write(conn, now(conn, 60))
        syncer.publisher.publish()
        shown = ledger.watermark(store)
        add(conn, visa, 5)
        assert syncer.tick(now(conn)).boundary_class == "old"
        assert ledger.watermark(store) == shown
        assert boundaries_known(conn) == [True]
