"""A follower with the test as its thread, whose work keeps what it was asked to do."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psycopg
from prometheus_client import REGISTRY
from pydantic import Secret

from shared import follower_store, postgres
from shared.follower import Follower
from shared.follower_store import Reason, Span, Tick
from shared.health import Health
from shared.settings import PostgresSettings

NAME = "follower under test"
Position = tuple[int, str] | None


@dataclass
class Recording:
    """A work that keeps what it was asked to do; `meddle` is called within it."""

    done: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    anew: list[tuple[int, Reason]] = field(default_factory=list)
    meddle: Callable[[], None] = lambda: None

    def follow(self, span: Span) -> None:
        self.meddle()
        self.done.append(span.tick.epoch)
        self.spans.append(span)

    def start_anew(self, tick: Tick, reason: Reason) -> None:
        self.meddle()
        self.anew.append((tick.epoch, reason))


@contextlib.contextmanager
def opened(dsn: str) -> Iterator[psycopg.Connection]:
    """Open a connection as followers open theirs."""
    settings = PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(settings, application="test", options=follower_store.OPTIONS) as conn:
        yield conn


def following(*, writes: bool = False) -> Follower:
    """Return a follower as a process that has just started has it."""
    return Follower(NAME, Health(), threading.Event(), writes=writes)


def position(conn: psycopg.Connection) -> Position:
    """Return where it stands; None if it has no row."""
    query = "SELECT epoch, token FROM follower WHERE name = %s"
    return conn.execute(query, [NAME]).fetchone()


def newest(conn: psycopg.Connection) -> Position:
    """Return what names the newest due tick."""
    query = "SELECT epoch, token FROM tick WHERE NOT interim ORDER BY epoch DESC LIMIT 1"
    return conn.execute(query).fetchone()


def lag() -> tuple[float | None, float | None]:
    """Return how many ticks are not followed, and for how long one is not."""
    names = ("minutebook_follower_lag_ticks", "minutebook_follower_lag_seconds")
    ticks, seconds = (REGISTRY.get_sample_value(name) for name in names)
    return ticks, seconds


def times_anew(reason: Reason) -> float:
    """Return how often a follower of this process has started anew for a reason."""
    name = "minutebook_follower_anew_total"
    return REGISTRY.get_sample_value(name, {"reason": reason}) or 0.0
