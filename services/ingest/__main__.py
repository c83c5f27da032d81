"""`python -m services.ingest`: settings, connections, threads, the order of stopping."""

import contextlib
import gc
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import psycopg
import structlog
from pydantic import Field

from services.ingest import parked, service, store
from services.ingest.commit_pacing import CommitPacing
from services.ingest.parked import Releaser
from services.ingest.receiver import Receiver
from services.ingest.stream_reader import StreamReceiver, StreamWriter
from services.ingest.writer import Writer
from shared import postgres, program, retry, settings, worker
from shared.amqp.consumer import Consumer
from shared.errors import Unavailable
from shared.health import MAIN, NOT_CONNECTED, Health
from shared.shard import EXCHANGE

ABOUT = "Stores messages from RabbitMQ in Postgres, each with its outbox row, in batches."
NAME = "ingest"
BROKER_SILENT_S = 10.0
GARBAGE_THRESHOLDS = (50_000, 50, 100)
"""The backlog is tens of thousands of objects in no cycle, looked at by each collection."""

log = structlog.get_logger()


class IngestSettings(
    settings.PostgresSettings,
    settings.SourceSettings,
    settings.BodySettings,
    settings.TickSettings,
    settings.ServiceSettings,
):
    """What ingest needs."""

    metrics_port: settings.MetricsPort = 9101
    ingest_batch_max: int = Field(
        default=3000, ge=1, le=10_000, description="messages in one commit, at most"
    )
    ingest_prefetch: int = Field(
        default=9_000,
        ge=1,
        le=65535,
        description="messages received and not acknowledged, at most; three batches or more",
    )


@dataclass(frozen=True)
class Connectors:
    """How the servers are reached. Who composes the service otherwise passes other connectors."""

    to_postgres: Callable[..., AbstractContextManager[psycopg.Connection]] = postgres.connection
    to_rabbitmq: Callable[..., AbstractContextManager[Consumer]] = Consumer.connected


def run(
    chosen: IngestSettings,
    health: Health,
    stop: threading.Event,
    connectors: Connectors = Connectors(),
) -> None:
    """Store what comes until `stop`; begin again whenever a server was lost."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    if not chosen.ingest_stream and chosen.ingest_prefetch < 3 * chosen.ingest_batch_max:
        log.warning("prefetch_small", hint="below three times INGEST_BATCH_MAX the writer waits")
    health.problem("receiver", NOT_CONNECTED)
    health.problem("writer", NOT_CONNECTED)
    rules = service.IngestRules(
        queue=chosen.source,
        identity_source=chosen.ingest_message_id,
        batch_max=chosen.ingest_batch_max,
        limits=chosen.body_limits,
    )
    connect = partial(connectors.to_postgres, chosen, application=NAME, options=store.OPTIONS)
    kind = StreamWriter if chosen.ingest_stream else Writer
    pacing = CommitPacing(chosen.tick_interval_seconds)
    writer = kind(partial(connect, turn=health.turning("writer")), rules, pacing, health, stop)
    releaser = Releaser(partial(connect, turn=health.turning(parked.PART)), rules, health, stop)
    with contextlib.ExitStack() as threads:
        threads.enter_context(worker.running(parked.PART, releaser.live, stop, health))
        threads.enter_context(writer.running())
        turn = health.turning(MAIN)
        connect_broker = partial(connectors.to_rabbitmq, chosen, name=NAME, turn=turn)
        retry.run_with_reconnect(stop, partial(_live, chosen, connect_broker, writer), turn)


def _live(
    chosen: IngestSettings,
    connect: Callable[[], AbstractContextManager[Consumer]],
    writer: Writer,
) -> None:
    health, stop = writer.health, writer.stopping
    while not writer.ready.wait(0.2):  # messages are taken only while they can be stored
        health.turn(MAIN)
        if stop.is_set():
            return
    with health.reporting("receiver"), connect() as broker:
        receiver = (
            StreamReceiver(broker, writer)
            if isinstance(writer, StreamWriter)
            else Receiver(broker, writer)
        )
        receiver.start(writer.rules.queue, chosen.ingest_prefetch)
        if shard := chosen.own_shard.split:
            broker.bind(writer.rules.queue, EXCHANGE, str(shard.number))
        health.expect("receiver", within_s=BROKER_SILENT_S)
        try:
            receiver.run(stop)
        except Unavailable as error:
            health.problem("receiver", str(error))
            retry.report_lost(error)


PROGRAM = program.Program(NAME, ABOUT, IngestSettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
