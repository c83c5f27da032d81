"""`python -m tests.faults.tracker`: the service as it is, over connections that may die."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import psycopg

from services.tracker import __main__ as tracker
from services.tracker import intake_store, open_request_store
from services.tracker.intake import Connectors
from shared.amqp.publisher import Publisher
from shared.amqp.topic import TopicPublisher
from shared.follower import Follower
from shared.health import Health
from tests.faults import kill_orders
from tests.faults.kill_points import KillableConnection, KillableTopicPublisher, Statement
from tests.faults.request_kill_points import KillableRelay

ORDERS = kill_orders.by_settings()
NAMES = {open_request_store.UPDATE_DECIDED: Statement("decision")}
INTAKE_NAMES = {
    intake_store.SELECT_KNOWN: Statement("known", lambda given: len(given["keys"])),
    intake_store.UPDATE_PUBLISHED: Statement("published_at"),
}
"""The first statement after the COMMIT that writes requests down, and the last before their ack."""


@contextlib.contextmanager
def connected(
    chosen: tracker.TrackerSettings, health: Health, follower: Follower
) -> Iterator[tracker.Connected]:
    """Open what one life works with."""
    with tracker.connected(chosen, health, follower) as (conn, publisher):
        wrapped = cast("TopicPublisher", KillableTopicPublisher(publisher, ORDERS))
        yield KillableConnection(conn, ORDERS, NAMES).as_connection(), wrapped


def connectors(chosen: tracker.TrackerSettings) -> Connectors:
    """Return how the intake reaches the servers."""
    usual = tracker.connectors(chosen)
    return replace(
        usual,
        to_postgres=partial(_to_postgres, usual),
        to_requests=partial(_to_requests, usual),
    )


@contextlib.contextmanager
def _to_postgres(usual: Connectors, **options: Any) -> Iterator[psycopg.Connection]:
    with usual.to_postgres(**options) as conn:
        yield KillableConnection(conn, ORDERS, INTAKE_NAMES).as_connection()


@contextlib.contextmanager
def _to_requests(usual: Connectors, **options: Any) -> Iterator[Publisher]:
    with usual.to_requests(**options) as relay:
        yield cast("Publisher", KillableRelay(relay, ORDERS))


PROGRAM = replace(
    tracker.PROGRAM,
    run=partial(tracker.run, connect=connected, connect_intake=connectors),
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
