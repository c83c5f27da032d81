"""`python -m tests.faults.observer`: the service as it is, over connections that may die."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import psycopg

from services.observer import __main__ as observer
from services.observer import store
from services.observer.life import Connectors
from shared.amqp.consumer import Consumer
from tests.faults import kill_orders
from tests.faults.kill_points import KillableConnection, KillableConsumer, Statement

ORDERS = kill_orders.by_settings()
NAMES = {store.UPSERT: Statement("seen", lambda given: len(given["ids"]))}


def connectors(chosen: observer.ObserverSettings) -> Connectors:
    """Return how the servers are reached."""
    usual = observer.connectors(chosen)
    return replace(
        usual,
        to_postgres=partial(_to_postgres, usual),
        to_sightings=partial(_to_sightings, usual),
    )


@contextlib.contextmanager
def _to_postgres(usual: Connectors, **options: Any) -> Iterator[psycopg.Connection]:
    with usual.to_postgres(**options) as conn:
        yield KillableConnection(conn, ORDERS, NAMES).as_connection()


@contextlib.contextmanager
def _to_sightings(usual: Connectors, **options: Any) -> Iterator[Consumer]:
    with usual.to_sightings(**options) as broker:
        yield cast("Consumer", KillableConsumer(broker, ORDERS))


PROGRAM = replace(observer.PROGRAM, run=partial(observer.run, connect=connectors))

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
