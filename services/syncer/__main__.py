"""`python -m services.syncer`: settings, connections, and the order of stopping."""

import contextlib
import math
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import psycopg
from pydantic import Field

from adoption import checks
from reconciliation.reconciler import Reconciler
from services.syncer import metrics, publish_store, tick_store
from services.syncer.loop import Loop
from services.syncer.partitions import Kept
from services.syncer.projection import Projection
from services.syncer.retention import Retention
from services.syncer.service import Syncer
from services.syncer.timeline import Timeline
from shared import keydb, postgres, program, retry, settings, worker
from shared.amqp import ticks
from shared.errors import Unavailable
from shared.health import MAIN, NOT_CONNECTED, Health
from shared.limited_connection import meanwhile

ABOUT = "At each tick, folds the outbox into balances and shows them in KeyDB."
NAME = "syncer"
# Hardly slower, and leaves the processors to the ticks.
ALONE = "-c max_parallel_workers_per_gather=0 -c statement_timeout=15min"

Connected = tuple[psycopg.Connection, Loop]
"""What works in one life, and its connection to Postgres."""


class SyncerSettings(
    settings.PostgresSettings,
    settings.DiskSettings,
    settings.RabbitmqSettings,
    settings.KeydbSettings,
    settings.ServiceSettings,
):
    """What the syncer needs."""

    metrics_port: settings.MetricsPort = 9103
    sync_fold_interval_seconds: float = Field(
        default=0.5, ge=0.05, le=60, description="seconds between two readings of the outbox"
    )
    outbox_retention_hours: int = Field(
        default=24, ge=1, le=8760, description="hours for which counted outbox rows are kept"
    )
    outbox_retention_gb: float = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="10^9 bytes of outbox, with indexes, above which the oldest partitions go"
        " before their hours are over, once all in them is counted; the last hour stays; 0: none",
    )
    history_retention_days: int = Field(
        default=30, ge=1, le=3650, description="days for which ticks and past balances are kept"
    )
    reconcile_every_ticks: int = Field(
        default=60,
        ge=0,
        le=1_000_000,
        description="ticks from one reconciliation (which reads the whole history) to the next;"
        " 0: never",
    )

    @property
    def kept(self) -> Kept:
        """What retention leaves."""
        outbox_bytes = self.outbox_retention_gb * 1e9 or math.inf
        return Kept(self.outbox_retention_hours, self.history_retention_days, outbox_bytes)


@contextlib.contextmanager
def projection(chosen: SyncerSettings, *, name: str) -> Iterator[Projection]:
    """Open a projection over a client of its own."""
    with keydb.client(chosen, name=name) as client:
        yield Projection(client, shard=chosen.own_shard)


@dataclass(frozen=True)
class Connectors:
    """How the servers are reached. Who composes the service otherwise passes other connectors."""

    to_postgres: Callable[..., AbstractContextManager[psycopg.Connection]] = postgres.connection
    to_keydb: Callable[..., AbstractContextManager[Projection]] = projection
    to_rabbitmq: Callable[..., AbstractContextManager[ticks.Broker]] = ticks.Broker.connected


def run(
    chosen: SyncerSettings,
    health: Health,
    stop: threading.Event,
    connectors: Connectors = Connectors(),
) -> None:
    """Fold and publish until `stop`; begin again whenever a server was lost."""
    health.problem(NAME, NOT_CONNECTED)
    turn = health.turning("reconciler")
    reconciler = Reconciler(
        partial(connectors.to_postgres, chosen, application="reconciler", options=ALONE, turn=turn),
        partial(connectors.to_keydb, chosen, name="reconciler"),
        chosen.reconcile_every_ticks,
        stop,
        turn,
    )
    retention = Retention(chosen.kept, disk_bytes=chosen.postgres_disk_bytes)
    connect = partial(_connected, chosen, connectors, Timeline(), health)
    live = partial(_live, connect, health, stop, reconciler, retention)
    with worker.running("reconciler", reconciler.live, stop, health):
        retry.run_with_reconnect(stop, live, health.turning(MAIN))


@contextlib.contextmanager
def _connected(
    chosen: SyncerSettings, connectors: Connectors, timeline: Timeline, health: Health
) -> Iterator[Connected]:
    turn = health.turning(MAIN)
    to_postgres = partial(connectors.to_postgres, chosen, application=NAME, turn=turn)
    with (
        to_postgres(options=tick_store.OPTIONS) as conn,
        connectors.to_keydb(chosen, name=NAME) as shown,
        connectors.to_rabbitmq(chosen, name=NAME, turn=turn) as broker,
    ):
        # A fold of what gathered for hours may take longer than the broker waits for a heartbeat.
        meanwhile(conn, partial(broker.poll, 0.0))
        checks.check(conn, tick_store.STATEMENTS + publish_store.STATEMENTS)
        timeline.detect_failover(conn)
        broker.queue = chosen.own_shard.name(ticks.QUEUE)
        fold_s = chosen.sync_fold_interval_seconds
        yield conn, Loop(Syncer(conn, shown), broker, health, fold_s)


def _live(
    connect: Callable[[], AbstractContextManager[Connected]],
    health: Health,
    stop: threading.Event,
    reconciler: Reconciler,
    retention: Retention,
) -> None:
    ticked = False
    try:
        with health.reporting(NAME), connect() as (conn, loop):
            loop.start()
            while not stop.is_set():
                turn = loop.run_once()
                if turn == "stood by":
                    reconciler.stood_by()
                if turn == "tick":
                    reconciler.ticked()
                if turn in ("tick", "no tick"):
                    ticked = True
                    retention.after_tick(conn, loop.interval_s)
    except Unavailable as error:
        metrics.OLDEST_UNFOLDED.began = math.nan  # what had been read is forgotten
        if not ticked:
            raise  # what fails again and again is tried again ever less often
        retry.report_lost(error)


PROGRAM = program.Program(NAME, ABOUT, SyncerSettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
