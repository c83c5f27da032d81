"""Which syncer handles a tick, and what is written before its boundary, by the wall clock."""

import time
from collections.abc import Iterator
from datetime import datetime

import psycopg
import pytest
import redis
from pika.adapters.blocking_connection import BlockingChannel

from services.syncer import loop as looping
from services.syncer.loop import INTERVAL_UNTIL_TOLD_S, PREPARED_S, Loop
from services.syncer.service import Syncer
from shared.amqp.ticks import EXCHANGE, QUEUE
from shared.health import Health
from tests.support import ledger, servers, syncer_loop
from tests.support.syncer_loop import Clock, connected, send, turns

FIRST_S, SECOND_S = PREPARED_S
SLACK_S = 0.01
MANY = 3


@pytest.fixture
def clock() -> Clock:
    """The active syncer's: a second after minute 2."""
    return Clock()


@pytest.fixture
def ticker(amqp_url: str) -> Iterator[BlockingChannel]:
    """Whoever publishes ticks, and may do anything."""
    with syncer_loop.ticker(amqp_url) as channel:
        yield channel


@pytest.fixture
def active(
    conn: psycopg.Connection, syncer: Syncer, amqp_url: str, ticker: BlockingChannel, clock: Clock
) -> Iterator[Loop]:
    """A syncer to which the queue has given the tick of minute 2."""
    for number in range(MANY):
        ledger.add_provider(conn, f"Provider {number}")
    with syncer_loop.active(syncer, amqp_url, ticker, clock) as loop:
        yield loop


@pytest.fixture
def standby(active: Loop, dsn: str, amqp_url: str, keydb_server: servers.Keydb) -> Iterator[Loop]:
    """One that consumes from the same queue and is given nothing."""
    with (
        connected(amqp_url) as broker,
        ledger.syncing(dsn, keydb_server.url()) as syncer,
    ):
        loop = Loop(syncer, broker, Health(), 0.05, Clock())
        loop.start()
        yield loop


def boundaries(conn: psycopg.Connection) -> list[datetime]:
    found = conn.execute("SELECT boundary FROM tick WHERE boundary IS NOT NULL ORDER BY epoch")
    return [boundary for (boundary,) in found]


def interims(conn: psycopg.Connection) -> int:
    found = conn.execute("SELECT count(*) FROM tick WHERE interim").fetchone()
    return found[0] if found else 0


def waiting(ticker: BlockingChannel) -> int:
    return ticker.queue_declare(QUEUE, passive=True).method.message_count


def test_a_tick_that_came_while_another_answer_was_awaited_waits_for_nothing(
    ticker: BlockingChannel, amqp_url: str
) -> None:
    with connected(amqp_url) as broker:
        broker.consume_ticks()
        send(ticker, 2)
        for _ in range(50):
            broker.inspect(QUEUE)
        began = time.monotonic()
        assert broker.next_tick(30)
        assert time.monotonic() - began < 15


def test_a_first_tick_that_is_malformed_says_nothing_of_how_long_retention_may_take(
    syncer: Syncer, ticker: BlockingChannel, amqp_url: str
) -> None:
    with connected(amqp_url) as broker:
        loop = Loop(syncer, broker, Health(), 0.05)
        loop.start()
        ticker.basic_publish(EXCHANGE, "", b"no tick")
        assert turns(loop).count("no tick") == 1
        assert loop.interval_s == INTERVAL_UNTIL_TOLD_S


def test_the_message_of_a_second_ticker_and_one_that_comes_again_are_no_further_tick(
    active: Loop, ticker: BlockingChannel
) -> None:
    send(ticker, 3, "one")
    assert turns(active).count("tick") == 1
    for name in ("other", "one"):
        send(ticker, 3, name)
        came = turns(active)
        assert (came.count("tick"), came.count("no tick")) == (0, 1)


def interims_at(loop: Loop, conn: psycopg.Connection, clock: Clock, before_s: float) -> int:
    """Return how many interim ticks there are after a change so long before minute 3."""
    clock.now = ledger.minute(3).timestamp() - before_s
    ledger.add(conn, 1, 1)
    turns(loop)
    return interims(conn)


def test_what_has_come_is_written_twice_shortly_before_the_boundary_and_shown_at_it(
    active: Loop,
    conn: psycopg.Connection,
    ticker: BlockingChannel,
    clock: Clock,
    store: "redis.Redis",
) -> None:
    before = ledger.shown(store)
    assert interims_at(active, conn, clock, FIRST_S + SLACK_S) == 0
    assert interims_at(active, conn, clock, FIRST_S - SLACK_S) == 1
    assert interims_at(active, conn, clock, SECOND_S - SLACK_S) == 2
    assert interims_at(active, conn, clock, 0.0) == 2
    assert ledger.shown(store) == before
    send(ticker, 3)
    turns(active)
    assert ledger.shown(store) == ledger.truth(conn)
    ledger.assert_counted_once(conn)


def test_a_ticker_that_stays_away_leads_to_no_more_of_it(
    active: Loop, conn: psycopg.Connection, clock: Clock
) -> None:
    assert interims_at(active, conn, clock, 0.0) == 1
    for minutes in range(1, 5):
        interims_at(active, conn, clock, -60.0 * minutes)
    assert interims(conn) == 1


@pytest.mark.parametrize("off_s", [-(10**9), -3600, -61, -0.1, 0.1, 3600, 10**10])
def test_a_wrong_clock_makes_no_tick_wrong(
    active: Loop,
    conn: psycopg.Connection,
    ticker: BlockingChannel,
    clock: Clock,
    store: "redis.Redis",
    *,
    off_s: float,
) -> None:
    for number in (3, 4, 5):
        for at_s in (-30.0, -FIRST_S, -SECOND_S, 0.0):
            clock.now = ledger.minute(number).timestamp() + at_s + off_s
            ledger.add(conn, 1, 1)
            turns(active)
        send(ticker, number)
        turns(active)
        assert ledger.shown(store) == ledger.truth(conn)
    assert interims(conn) <= 3 * len(PREPARED_S)
    ledger.assert_counted_once(conn)


def test_ticks_of_two_tickers_for_one_boundary_are_one(
    active: Loop, conn: psycopg.Connection, ticker: BlockingChannel
) -> None:
    sent = [send(ticker, 3, name) for name in ("one", "another")]
    assert "tick" in turns(active)
    assert boundaries(conn)[-1:] == sent[:1]
    assert len(boundaries(conn)) == len(set(boundaries(conn)))
    assert waiting(ticker) == 0


def test_who_stands_by_leaves_ticks_and_their_preparation_to_the_active_one(
    active: Loop, standby: Loop, conn: psycopg.Connection, ticker: BlockingChannel, clock: Clock
) -> None:
    ledger.add(conn, 1, 1)
    sent = send(ticker, 3)
    assert "tick" not in turns(standby)
    assert sent not in boundaries(conn)
    assert turns(active).count("tick") == 1
    assert sent in boundaries(conn)
    ledger.add(conn, 1, 1)
    assert turns(standby).count("stood by") == 1
    assert interims(conn) == 0


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few changed providers count as many."""
    monkeypatch.setattr(looping, "MANY_CHANGED", MANY)


def change(conn: psycopg.Connection, providers: int) -> None:
    for provider in range(1, providers + 1):
        ledger.add(conn, provider, 1)


@pytest.mark.usefixtures("many")
def test_many_are_written_at_once_and_once_between_two_ticks(
    active: Loop, conn: psycopg.Connection, ticker: BlockingChannel, store: "redis.Redis"
) -> None:
    for number in (3, 4):
        before, shown = interims(conn), ledger.shown(store)
        change(conn, MANY - 1)
        turns(active)
        assert interims(conn) == before
        change(conn, MANY)
        turns(active)
        assert interims(conn) == before + 1
        change(conn, MANY)
        turns(active)
        assert interims(conn) == before + 1
        assert ledger.shown(store) == shown, "not before its tick"
        send(ticker, number)
        turns(active)
        assert ledger.shown(store) == ledger.truth(conn)
    ledger.assert_counted_once(conn)


@pytest.mark.usefixtures("many")
def test_one_that_was_overtaken_writes_nothing_ahead(
    active: Loop, conn: psycopg.Connection, dsn: str, keydb_server: servers.Keydb, clock: Clock
) -> None:
    change(conn, 1)
    with ledger.syncing(dsn, keydb_server.url()) as other:
        other.tick(ledger.minute(3))
    assert "stood by" in turns(active)
    clock.now = ledger.minute(3).timestamp()
    change(conn, MANY)
    turns(active)
    assert interims(conn) == 0
