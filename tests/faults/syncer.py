"""`python -m tests.faults.syncer`: the service as it is, over connections that may die."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import psycopg

from services.syncer import __main__ as syncer
from services.syncer import partitions, publish_store, tick_store
from services.syncer.projection import Projection
from shared import keydb, postgres
from shared.amqp import ticks
from shared.health import Turn
from shared.settings import KeydbSettings, PostgresSettings, RabbitmqSettings
from tests.faults import kill_orders
from tests.faults.kill_points import (
    KillableBroker,
    KillableConnection,
    KillableProjection,
    Statement,
)

ORDERS = kill_orders.by_settings()
NAMES = {
    tick_store.SELECT_FRESH: Statement("fold"),
    tick_store.LOCK: Statement("lock"),
    tick_store.INSERT_TICK: Statement(
        "tick", kind=lambda params: "interim " if params["interim"] else ""
    ),
    publish_store.UPDATE_PUBLISHED: Statement("published_at"),
    partitions.DROP_PARTITION: Statement("drop"),
}
OURS = "syncer"
"""The reconciler only reads; it is left alone."""


@contextlib.contextmanager
def to_postgres(
    chosen: PostgresSettings, *, application: str, options: str, turn: Turn
) -> Iterator[psycopg.Connection]:
    """Open a connection for one life of the syncer, or for a reconciliation."""
    with postgres.connection(chosen, application=application, options=options, turn=turn) as conn:
        names = NAMES if application == OURS else {}
        yield KillableConnection(conn, ORDERS, names).as_connection()


@contextlib.contextmanager
def to_keydb(chosen: KeydbSettings, *, name: str) -> Iterator[Projection]:
    """Open a client for one life of the syncer, or for a reconciliation."""
    with keydb.client(chosen, name=name) as client:
        yield KillableProjection(client, ORDERS) if name == OURS else Projection(client)


@contextlib.contextmanager
def to_rabbitmq(chosen: RabbitmqSettings, *, name: str, turn: Turn) -> Iterator[ticks.Broker]:
    """Open a connection for one life of the syncer."""
    with ticks.Broker.connected(chosen, name=name, turn=turn) as broker:
        yield cast("ticks.Broker", KillableBroker(broker, ORDERS))


PROGRAM = replace(
    syncer.PROGRAM,
    run=partial(syncer.run, connectors=syncer.Connectors(to_postgres, to_keydb, to_rabbitmq)),
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
