"""`python -m services.tracker`: settings, connections, threads, the order of stopping."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import psycopg
from pydantic import Field

from adoption import checks
from services.tracker import intake_store, open_request_store, reply_store
from services.tracker.intake import Connectors, Intake
from services.tracker.service import Tracker
from shared import follower_store, postgres, program, retry, settings
from shared.amqp.publisher import Publisher
from shared.amqp.topic import TopicPublisher
from shared.errors import Refusal
from shared.follower import Follower
from shared.health import MAIN, NOT_CONNECTED, Health
from shared.request_message import QUEUE

ABOUT = "Publishes the items of requests, keeps what becomes of each, and replies to their senders."
NAME = "tracker"
INTAKE_NAME = "tracker-queue"
OPTIONS = f"{open_request_store.OPTIONS} {follower_store.OPTIONS}"
STATEMENTS = (
    follower_store.STATEMENTS
    + open_request_store.STATEMENTS
    + reply_store.STATEMENTS
    + intake_store.STATEMENTS
)
REPLIES = "replies"

Connected = tuple[psycopg.Connection, TopicPublisher]
"""What one life works with."""


# What mypy finds is a helper of pydantic's plugin, made twice.
class TrackerSettings(  # type: ignore[misc]
    settings.PostgresSettings, settings.SourceSettings, settings.ServiceSettings
):
    """What the tracker needs."""

    metrics_port: settings.MetricsPort = 9105
    request_retention_days: int = Field(
        default=30, ge=1, le=3650, description="days for which requests are kept"
    )


@contextlib.contextmanager
def connected(chosen: TrackerSettings, health: Health, follower: Follower) -> Iterator[Connected]:
    """Open what one life works with, once this is the active tracker. Raises `Unavailable`."""
    turn = health.turning(MAIN)
    with postgres.connection(chosen, application=NAME, options=OPTIONS, turn=turn) as conn:
        checks.check(conn, STATEMENTS)
        with (
            follower.active(conn),
            TopicPublisher.connected(chosen, name=NAME, turn=turn) as publisher,
        ):
            publisher.open_queues(partial(follower.keep, conn))
            publisher.when_blocked(partial(health.report, REPLIES))
            health.progress(REPLIES)
            yield conn, publisher


Connect = Callable[[TrackerSettings, Health, Follower], AbstractContextManager[Connected]]
ConnectIntake = Callable[[TrackerSettings], Connectors]


def connectors(chosen: TrackerSettings) -> Connectors:
    """Return how the intake reaches the servers."""
    return Connectors(
        partial(
            postgres.connection, chosen, application=INTAKE_NAME, options=open_request_store.OPTIONS
        ),
        partial(Publisher.connected, chosen, name=INTAKE_NAME),
        partial(TopicPublisher.connected, chosen, name=INTAKE_NAME),
    )


def refuse(chosen: settings.SourceNames) -> None:
    """Raise `Refusal` unless ingest knows an item that comes again: it would count twice."""
    if chosen.ingest_stream:
        raise Refusal("INGEST_STREAM is set: items can be published again to a queue only")
    if chosen.ingest_message_id != "property":
        raise Refusal(
            "INGEST_MESSAGE_ID is not property: ingest would not know an item that comes again"
        )


def run(
    chosen: TrackerSettings,
    health: Health,
    stop: threading.Event,
    connect: Connect = connected,
    connect_intake: ConnectIntake = connectors,
) -> None:
    """Accept requests, decide them and reply until `stop`; start again when a server was lost.

    Who composes the service otherwise passes other connections. Raises `Refusal`.
    """
    refuse(chosen)
    health.problem(NAME, NOT_CONNECTED)
    follower = Follower(NAME, health, stop, writes=True)
    opened = partial(connect, chosen, health, follower)
    live = partial(_live, chosen, opened, follower, health, stop)
    intake = Intake(
        chosen.source, connect_intake(chosen), health, stop, chosen.own_shard.name(QUEUE)
    )
    with intake.running():
        retry.run_with_reconnect(stop, live, health.turning(MAIN))


def _live(
    chosen: TrackerSettings,
    connect: Callable[[], AbstractContextManager[Connected]],
    follower: Follower,
    health: Health,
    stop: threading.Event,
) -> None:
    with health.reporting(NAME), connect() as (conn, publisher):
        tracker = Tracker(conn, publisher, stop, chosen.request_retention_days)
        follower.run(conn, tracker, tracker.pause)


PROGRAM = program.Program(NAME, ABOUT, TrackerSettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
