"""`python -m services.feed`: settings, connections, and what is done between two looks."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Literal

import psycopg
from pydantic import Field

from adoption import checks
from services.feed import store
from services.feed.core import quiet_s
from services.feed.service import EXCHANGE, Feed
from shared import follower_store, postgres, program, retry, settings
from shared.amqp.publisher import Publisher, Stopped
from shared.follower import Follower
from shared.health import MAIN, NOT_CONNECTED, Health

ABOUT = "Publishes what each due tick counted and changed as events to the exchange 'changes'."
NAME = "feed"
BROKER = "rabbitmq"
"""The part of health that says whether the broker takes anything, whatever else goes on."""


class FeedSettings(
    settings.PostgresSettings,
    settings.RabbitmqSettings,
    settings.TickSettings,
    settings.ServiceSettings,
):
    """What the feed needs."""

    metrics_port: settings.MetricsPort = 9106
    feed_events: Literal["all", "balances"] = Field(
        default="all",
        description="all, or balances: events of balances only, without transactions and providers",
    )


Connected = tuple[psycopg.Connection, Publisher]
"""What one life works with."""
Connect = Callable[
    [FeedSettings, Health, Follower, threading.Event], AbstractContextManager[Connected]
]


@contextlib.contextmanager
def connected(
    chosen: FeedSettings, health: Health, follower: Follower, stop: threading.Event
) -> Iterator[Connected]:
    """Open what one life works with, once this is the active feed. Raises `Unavailable`."""
    turn = health.turning(MAIN)
    options = f"{store.OPTIONS} {follower_store.OPTIONS}"
    with postgres.connection(chosen, application=NAME, options=options, turn=turn) as conn:
        checks.check(conn, store.STATEMENTS + follower_store.STATEMENTS)
        with follower.active(conn), Publisher.connected(chosen, name=NAME, turn=turn) as publisher:
            publisher.declare_exchange(chosen.own_shard.name(EXCHANGE), "topic")
            publisher.confirm_all(stop, partial(follower.keep, conn))
            publisher.when_blocked(partial(health.report, BROKER))
            health.progress(BROKER)
            yield conn, publisher


def run(
    chosen: FeedSettings, health: Health, stop: threading.Event, connect: Connect = connected
) -> None:
    """Publish each due tick until `stop`; start a new life whenever a server was lost.

    Who composes the service otherwise passes another `connect`.
    """
    health.problem(NAME, NOT_CONNECTED)
    follower = Follower(NAME, health, stop)
    opened = partial(connect, chosen, health, follower, stop)
    live = partial(_live, chosen, opened, follower, health)
    with contextlib.suppress(Stopped):
        retry.run_with_reconnect(stop, live, health.turning(MAIN))


def _live(
    chosen: FeedSettings,
    connect: Callable[[], AbstractContextManager[Connected]],
    follower: Follower,
    health: Health,
) -> None:
    with health.reporting(NAME), connect() as (conn, publisher):

        def stand_aside() -> None:
            follower.progress()
            while (wait_s := quiet_s(time.time(), chosen.tick_interval_seconds)) > 0:
                publisher.poll(wait_s)

        def pause(seconds: float) -> None:
            feed.note_start()
            publisher.poll(seconds)

        changes, to = chosen.feed_events == "all", chosen.own_shard.name(EXCHANGE)
        feed = Feed(conn, publisher, stand_aside, changes=changes, to=(to, None))
        follower.run(conn, feed, pause)


PROGRAM = program.Program(NAME, ABOUT, FeedSettings, run)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
