"""`python -m services.notifier`: settings, connections, and the order of stopping."""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import psycopg
from pydantic import Field

from adoption import checks
from services.notifier import intake, judge_store, store
from services.notifier.service import EXCHANGE, Notifier
from shared import follower_store, postgres, program, retry, settings
from shared.amqp.topic import TopicPublisher
from shared.follower import Follower
from shared.health import MAIN, NOT_CONNECTED, Health

ABOUT = "At each tick, judges alerts on balances and publishes a notification for each one met."
NAME = "notifier"
OPTIONS = f"{judge_store.OPTIONS} {follower_store.OPTIONS}"
STATEMENTS = follower_store.STATEMENTS + judge_store.STATEMENTS + store.STATEMENTS

Connected = tuple[psycopg.Connection, TopicPublisher]
"""What one life works with."""


# What mypy finds is a helper of pydantic's plugin, made twice.
class NotifierSettings(intake.IntakeSettings, settings.ServiceSettings):  # type: ignore[misc]
    """What the notifier needs."""

    metrics_port: settings.MetricsPort = 9107
    notification_retention_days: int = Field(
        default=30, ge=1, le=3650, description="days for which notifications are kept"
    )


@contextlib.contextmanager
def connected(chosen: NotifierSettings, health: Health, follower: Follower) -> Iterator[Connected]:
    """Open what one life works with, once this is the active notifier. Raises `Unavailable`."""
    turn = health.turning(MAIN)
    with postgres.connection(chosen, application=NAME, options=OPTIONS, turn=turn) as conn:
        checks.check(conn, STATEMENTS)
        with (
            follower.active(conn),
            TopicPublisher.connected(chosen, name=NAME, turn=turn) as publisher,
        ):
            publisher.open_topic(chosen.own_shard.name(EXCHANGE), partial(follower.keep, conn))
            publisher.when_blocked(partial(health.report, EXCHANGE))
            health.progress(EXCHANGE)
            yield conn, publisher


Connect = Callable[[NotifierSettings, Health, Follower], AbstractContextManager[Connected]]


def run(
    chosen: NotifierSettings, health: Health, stop: threading.Event, connect: Connect = connected
) -> None:
    """Judge and publish until `stop`, and read the queues of alerts, answers and prices beside it.

    Starts again whenever a server was lost. Who composes the service otherwise passes another
    `connect`.
    """
    health.problem(NAME, NOT_CONNECTED)
    follower = Follower(NAME, health, stop, writes=True)
    opened = partial(connect, chosen, health, follower)
    live = partial(_live, chosen, opened, follower, health, stop)
    with intake.reading(chosen, health, stop):
        retry.run_with_reconnect(stop, live, health.turning(MAIN))


def _live(
    chosen: NotifierSettings,
    connect: Callable[[], AbstractContextManager[Connected]],
    follower: Follower,
    health: Health,
    stop: threading.Event,
) -> None:
    with health.reporting(NAME), connect() as (conn, publisher):
        notifier = Notifier(conn, publisher, stop, chosen.notification_retention_days)
        follower.run(conn, notifier, notifier.pause)


PROGRAM = program.Program(NAME, ABOUT, NotifierSettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
