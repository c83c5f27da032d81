"""`python -m tests.faults.ingest`: the service as it is, over connections that may die."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import cast

import psycopg

from services.ingest import __main__ as ingest
from services.ingest import parked
from shared import postgres, transactions
from shared.amqp.consumer import Consumer
from shared.health import Turn
from shared.settings import PostgresSettings, RabbitmqSettings
from tests.faults import kill_orders
from tests.faults.kill_points import KillableConnection, KillableConsumer, Statement

ORDERS = kill_orders.by_settings()
NAMES = {
    transactions.INSERT_TRANSACTIONS: Statement("batch", lambda given: len(given["identities"])),
    transactions.INSERT_ALL_OR_NONE: Statement(
        "ordinary batch", lambda given: len(given["identities"])
    ),
    parked.DELETE: Statement("release", lambda given: len(given["ids"])),
}


@contextlib.contextmanager
def to_postgres(
    chosen: PostgresSettings, *, application: str, options: str, turn: Turn
) -> Iterator[psycopg.Connection]:
    """Open a connection for one of the threads."""
    with postgres.connection(chosen, application=application, options=options, turn=turn) as conn:
        yield KillableConnection(conn, ORDERS, NAMES).as_connection()


@contextlib.contextmanager
def to_rabbitmq(chosen: RabbitmqSettings, *, name: str, turn: Turn) -> Iterator[Consumer]:
    """Open a connection for one life of the receiver."""
    with Consumer.connected(chosen, name=name, turn=turn) as broker:
        yield cast("Consumer", KillableConsumer(broker, ORDERS))


PROGRAM = replace(
    ingest.PROGRAM, run=partial(ingest.run, connectors=ingest.Connectors(to_postgres, to_rabbitmq))
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
