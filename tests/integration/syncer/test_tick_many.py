"""Many changed providers are written before anybody expects a tick, and shown at it."""

from collections.abc import Iterator

import psycopg
import pytest
import redis
from pika.adapters.blocking_connection import BlockingChannel

from services.syncer import loop as looping
from services.syncer.loop import Loop
from services.syncer.service import Syncer
from tests.support import ledger, servers, syncer_loop

MANY = 3


@pytest.fixture
def ticker(amqp_url: str) -> Iterator[BlockingChannel]:
    with syncer_loop.ticker(amqp_url) as channel:
        yield channel


@pytest.fixture
def active(
    conn: psycopg.Connection,
    syncer: Syncer,
    amqp_url: str,
    ticker: BlockingChannel,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Loop]:
    monkeypatch.setattr(looping, "MANY_CHANGED", MANY)
    for number in range(MANY):
        ledger.add_provider(conn, f"Provider {number}")
    with syncer_loop.active(syncer, amqp_url, ticker, syncer_loop.Clock()) as loop:
        yield loop


def change(conn: psycopg.Connection, providers: int) -> None:
    for provider in range(1, providers + 1):
        ledger.add(conn, provider, 1)


def interims(conn: psycopg.Connection) -> int:
    found = conn.execute("SELECT count(*) FROM tick WHERE interim").fetchone()
    return found[0] if found else 0


def test_many_are_written_at_once_and_once_between_two_ticks(
    active: Loop, conn: psycopg.Connection, ticker: BlockingChannel, store: "redis.Redis"
) -> None:
    for number in (3, 4):
        before, shown = interims(conn), ledger.shown(store)
        change(conn, MANY - 1)
        syncer_loop.turns(active)
        assert interims(conn) == before
        change(conn, MANY)
        syncer_loop.turns(active)
        assert interims(conn) == before + 1
        change(conn, MANY)
        syncer_loop.turns(active)
        assert interims(conn) == before + 1
        assert ledger.shown(store) == shown, "not before its tick"
        syncer_loop.send(ticker, number)
        syncer_loop.turns(active)
        assert ledger.shown(store) == ledger.truth(conn)
    ledger.assert_counted_once(conn)


def test_one_that_was_overtaken_writes_nothing_ahead(
    active: Loop, conn: psycopg.Connection, dsn: str, keydb_server: servers.Keydb
) -> None:
    change(conn, 1)
    with ledger.syncing(dsn, keydb_server.url()) as other:
        other.tick(ledger.minute(3))
    assert "stood by" in syncer_loop.turns(active)
    change(conn, MANY)
    syncer_loop.turns(active)
    assert interims(conn) == 0
