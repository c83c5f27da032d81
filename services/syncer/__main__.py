"""`python -m services.syncer`: settings, connections, the loop, and the order of stopping."""

import contextlib
import math
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Literal

import psycopg
import structlog
from pydantic import Field

from services.syncer import metrics, store, traced, upkeep
from services.syncer.lineage import Lineage
from services.syncer.projection import Projection
from services.syncer.publisher import Published
from services.syncer.reconciler import Reconciler
from services.syncer.service import Syncer
from shared import keydb, postgres, program, retry, settings, tick, tracing, worker
from shared.amqp import ticks
from shared.errors import Unavailable
from shared.health import Health

ABOUT = "At each tick, folds the outbox into balances and shows them in KeyDB."
INTERVAL_UNTIL_TOLD_S = 60
MISSED_TICKS_MAX = 2
FOLD_BEFORE_TICK_S = 0.075
"""How long before a tick is expected the outbox is read once more, so that little is left."""
# Hardly slower, and leaves the processors to the ticks.
ALONE = "-c max_parallel_workers_per_gather=0"

Turn = Literal["tick", "stood by", "fold"]
Connected = tuple[psycopg.Connection, Projection, ticks.Broker]
"""The connections of one life."""

log = structlog.get_logger()


class SyncerSettings(
    settings.PostgresSettings,
    settings.RabbitmqSettings,
    settings.KeydbSettings,
    settings.ServiceSettings,
):
    """What the syncer needs."""

    metrics_port: int = Field(
        default=9103, ge=0, le=65535, description="port of /metrics and /healthz"
    )
    sync_fold_interval_seconds: float = Field(
        default=0.5, ge=0.05, le=60, description="how often the outbox is read between ticks"
    )
    outbox_retention_hours: int = Field(
        default=24, ge=1, le=8760, description="how long outbox rows are kept once counted"
    )
    history_retention_days: int = Field(
        default=30, ge=1, le=3650, description="how long ticks and past balances are kept"
    )
    reconcile_every_ticks: int = Field(
        default=60,
        ge=0,
        le=1_000_000,
        description="ticks from one reconciliation of all accounts to the next; 0: never",
    )


@contextlib.contextmanager
def projection(chosen: SyncerSettings, *, name: str) -> Iterator[Projection]:
    """Open a projection over a client of its own."""
    with keydb.client(chosen, name=name) as client:
        yield Projection(client)


@dataclass(frozen=True)
class Doors:
    """How the servers are reached. Who composes the service otherwise passes other doors."""

    to_postgres: Callable[..., AbstractContextManager[psycopg.Connection]] = postgres.connection
    to_keydb: Callable[..., AbstractContextManager[Projection]] = projection
    to_rabbitmq: Callable[..., AbstractContextManager[ticks.Broker]] = ticks.connection


def run(
    chosen: SyncerSettings,
    health: Health,
    stop: threading.Event,
    doors: Doors = Doors(),
) -> None:
    """Fold and publish until `stop`; start anew whenever a server was lost."""
    health.problem("syncer", "not connected yet")
    reconciler = Reconciler(
        partial(doors.to_postgres, chosen, application="reconciler", options=ALONE),
        partial(doors.to_keydb, chosen, name="reconciler"),
        chosen.reconcile_every_ticks,
        stop,
    )
    connect = partial(_connected, chosen, doors, Lineage())
    with worker.running("reconciler", reconciler.live, stop):
        retry.living(stop, partial(_live, chosen, connect, health, stop, reconciler))


@contextlib.contextmanager
def _connected(chosen: SyncerSettings, doors: Doors, lineage: Lineage) -> Iterator[Connected]:
    with (
        doors.to_postgres(chosen, application="syncer", options=store.OPTIONS) as conn,
        doors.to_keydb(chosen, name="syncer") as shown,
        doors.to_rabbitmq(chosen, name="syncer") as broker,
    ):
        postgres.check_schema(conn)
        lineage.follow(conn)
        yield conn, shown, broker


def _live(
    chosen: SyncerSettings,
    connect: Callable[[], AbstractContextManager[Connected]],
    health: Health,
    stop: threading.Event,
    reconciler: Reconciler,
) -> None:
    with health.reporting("syncer"), connect() as (conn, shown, broker):
        loop = Loop(chosen, health, conn, Syncer(conn, shown), broker)
        loop.prepare()
        try:
            upkeep_at = 0.0
            while not stop.is_set():
                turn = loop.run_once()
                if turn == "stood by":
                    reconciler.stood_by()
                if turn != "tick":
                    continue
                reconciler.ticked()
                if time.monotonic() >= upkeep_at:
                    # Right after a tick, when the next one is furthest away.
                    upkeep_at = time.monotonic() + upkeep.EVERY_S
                    upkeep.run_once(
                        conn,
                        outbox_h=chosen.outbox_retention_hours,
                        history_d=chosen.history_retention_days,
                    )
        except Unavailable as error:
            health.problem("syncer", str(error))
            metrics.forgotten()
            retry.lost(error)


class Loop:
    """Waits for ticks on one broker connection; folds in between."""

    def __init__(
        self,
        chosen: SyncerSettings,
        health: Health,
        conn: psycopg.Connection,
        syncer: Syncer,
        broker: ticks.Broker,
    ) -> None:
        """All but the first two are of this life only."""
        self._conn = conn
        self._fold_interval_s = chosen.sync_fold_interval_seconds
        self._health = health
        self._syncer = syncer
        self._broker = broker
        self._ticks: deque[tuple[int, bytes]] = deque()
        self._behind = False
        self._watching = False
        self._expected_at = -math.inf

    def prepare(self) -> None:
        """Declare and consume the tick queue, and show the last tick if KeyDB is behind it."""
        self._broker.declare_queue()
        self._broker.consume(lambda tag, body: self._ticks.append((tag, body)))
        self._expect(INTERVAL_UNTIL_TOLD_S)
        self._report(self._syncer.publish())
        self._health.progress("syncer")

    def run_once(self) -> Turn:
        """Handle one tick, or fold once; say what it was. Raises `Unavailable`."""
        self._broker.poll(self._pause_s())
        if self._ticks:
            tag, body = self._ticks.popleft()
            self._handle(body)
            self._broker.ack(tag)  # after the commit: a syncer that dies before gets it again
            return "tick"
        moved = self._syncer.fold().moved
        if moved:
            self._stand_by()
        if self._watching and self._syncer.watch():
            self._watching = False
            self._health.progress("watermark")
        if self._behind:
            self._report(self._syncer.publish())
        if self._left_s() <= FOLD_BEFORE_TICK_S:
            self._syncer.look()
        return "stood by" if moved else "fold"

    def _stand_by(self) -> None:
        """Another syncer is at work: learn from its tick, and look until KeyDB shows that."""
        if interval_s := self._syncer.interval_s():
            self._expect(interval_s)
        self._health.progress("tick")
        self._watching = True
        metrics.standing_by()

    def _pause_s(self) -> float:
        """Return the time to the next read: the usual, or less shortly before a tick."""
        left_s = self._left_s() - FOLD_BEFORE_TICK_S
        return min(left_s, self._fold_interval_s) if left_s > 0 else self._fold_interval_s

    def _left_s(self) -> float:
        return self._expected_at - time.monotonic()

    def _handle(self, body: bytes) -> None:
        try:
            received = tick.decode(body)
        except tick.MalformedTick as error:
            log.error("malformed_tick", error=str(error))
            return
        self._expected_at = time.monotonic() + received.interval_s
        self._watching = False
        self._expect(received.interval_s)
        published = self._tick(received.boundary)
        if published.current:
            self._health.progress("tick")
        self._report(published)

    def _tick(self, boundary: datetime) -> Published:
        if tracing.on():
            return traced.tick(self._conn, self._syncer, boundary)
        return self._syncer.tick(boundary)

    def _report(self, published: Published) -> None:
        self._behind = published.behind
        if not published.behind:
            self._health.progress("watermark")

    def _expect(self, interval_s: float) -> None:
        tick.INTERVAL_S.set(interval_s)
        limit_s = MISSED_TICKS_MAX * interval_s + 1
        self._health.expect("tick", within_s=limit_s)
        self._health.expect("watermark", within_s=limit_s)


PROGRAM = program.Program("syncer", ABOUT, SyncerSettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
