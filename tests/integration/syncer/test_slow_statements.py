"""Statements that take longer than the broker waits for a sign of life hold nothing up for good."""

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import psycopg
import pytest
import redis
from pika.adapters.blocking_connection import BlockingChannel
from prometheus_client import REGISTRY

from services.syncer import loop, tick_store
from services.syncer.__main__ import SyncerSettings, run
from shared import tick
from shared.amqp import connection, ticks
from shared.health import Health
from tests.support import ledger, syncer_loop
from tests.support.beside import beside
from tests.support.eventually import eventually

HEARTBEAT_S = 2
SLOW = "FROM pg_sleep(7) AS slow CROSS JOIN ("
"""Longer than a broker waits: two heartbeats, and half of one more."""
STUCK_S = 4.0


@contextlib.contextmanager
def syncing(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Health]:
    """Run a syncer in a thread."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    chosen = SyncerSettings(metrics_port=0, reconcile_every_ticks=0)
    health, stop = Health(stuck_s=STUCK_S), threading.Event()
    with beside(partial(run, chosen, health, stop), stop.set):
        yield health


def lost() -> float:
    return REGISTRY.get_sample_value("minutebook_reconnects_total", {"server": "rabbitmq"}) or 0.0


def send(channel: BlockingChannel) -> None:
    """Publish the boundary that has just passed."""
    at = datetime.fromtimestamp(int(time.time()), UTC)
    channel.basic_publish(ticks.EXCHANGE, "", tick.encode(tick.Tick(at, 1, "test")))


def test_however_long_a_fold_and_a_tick_take_ticks_are_written_and_by_the_same_syncer(
    environment: dict[str, str],
    amqp_url: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    ledger.add(conn, visa, 5)
    monkeypatch.setattr(connection, "HEARTBEAT_S", HEARTBEAT_S)
    for name in ("SELECT_FRESH", "INSERT_TICK"):
        before = getattr(tick_store, name)
        monkeypatch.setattr(tick_store, name, before.replace("FROM (", SLOW))
        assert before != getattr(tick_store, name)
    lost_before = lost()
    with (
        syncer_loop.ticker(amqp_url) as channel,
        syncing(environment, monkeypatch) as one,
        syncing(environment, monkeypatch) as other,
    ):

        def shows() -> bool:
            send(channel)
            assert (one.stuck(), other.stuck()) == ({}, {})
            return ledger.shown(store) == {"1_Visa": "1005"}

        eventually(lambda: one.problems().get("syncer") == loop.FIRST_FOLD)
        eventually(shows, 60)
    assert lost() == lost_before
