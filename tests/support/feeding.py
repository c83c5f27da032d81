"""The feed with the test as its thread: it looks when it is told to."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from pydantic import Secret

from adoption import checks
from services.feed import store
from services.feed.service import EXCHANGE, Feed
from shared import follower_store, postgres
from shared.amqp.publisher import Publisher
from shared.follower import Follower, Turn
from shared.health import Health
from shared.settings import PostgresSettings, RabbitmqSettings

TURNS_MAX = 100


@dataclass(frozen=True)
class Feeder:
    """One life of a feed's connections."""

    conn: psycopg.Connection
    follower: Follower
    feed: Feed
    publisher: Publisher

    def run(self) -> list[Turn]:
        """Follow all ticks that are there; returns what each look led to, but the last."""
        turns: list[Turn] = []
        while (turn := self.follower.run_once(self.conn, self.feed)) != "idle":
            self.feed.note_start()
            turns.append(turn)
            assert len(turns) < TURNS_MAX, "it does not end"
        return turns


def follower() -> Follower:
    """Return what a process has once, however often its connections are lost."""
    return Follower("feed", Health(), threading.Event())


@contextlib.contextmanager
def feeding(
    dsn: str, amqp_url: str, one: Follower | None = None, *, changes: bool = True
) -> Iterator[Feeder]:
    """Open a feed's connections as the service opens them, and its exchange."""
    options = f"{store.OPTIONS} {follower_store.OPTIONS}"
    to_postgres = PostgresSettings(postgres_dsn=Secret(dsn))
    to_rabbitmq = RabbitmqSettings(rabbitmq_url=Secret(amqp_url))
    with (
        postgres.connection(to_postgres, application="feed", options=options) as conn,
        Publisher.connected(to_rabbitmq, name="feed") as publisher,
    ):
        conn.execute("SET ROLE minutebook_feed")  # no rights but those of the feed's login
        checks.check(conn, store.STATEMENTS + follower_store.STATEMENTS)
        publisher.declare_exchange(EXCHANGE, "topic")
        publisher.confirm_all(threading.Event())
        yield Feeder(conn, one or follower(), Feed(conn, publisher, changes=changes), publisher)
