"""An observer that dies, servers that stop or stand still, and several observers."""

import contextlib
from collections.abc import Iterator

import psycopg
import redis

from tests.support import locks, observing, programs
from tests.support.eventually import eventually
from tests.support.object_api import Running
from tests.support.observing import Environment, Sender
from tests.support.programs import Program
from tests.support.tcp_proxy import TcpProxy, proxying

MANY = range(200)
KINDS = ("POSTGRES_DSN", "RABBITMQ_URL", "KEYDB_URL")


KEPT = {"OBSERVER_EXPIRE_AFTER_SECONDS": "3600"}
"""Nothing expires while a test lasts."""


def settled(observer: Program, outcome: str = "seen") -> float:
    return observer.metric(f'minutebook_sightings_total{{outcome="{outcome}"}}')


def all_is_done(sender: Sender, conn: psycopg.Connection, store: "redis.Redis") -> bool:
    done = observing.seen(conn).keys() == set(MANY) == observing.shown(store).keys()
    return done and sender.ready() == 0


def test_what_one_had_in_hand_when_it_was_killed_another_does(
    environment: Environment, api: Running, sender: Sender, conn: psycopg.Connection,
    store: "redis.Redis",
) -> None:  # fmt: skip
    environment |= {"OBSERVER_CONCURRENCY": "10"} | KEPT
    api.api.delay_s = 0.1
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(programs.running("services.observer", **environment))
            for _ in range(2)
        )
        eventually(lambda: first.health()[0] == second.health()[0] == 200)
        sender.send(MANY)
        eventually(lambda: settled(first) > 0 and settled(second) > 0)
        assert api.api.at_once_max <= 20
        first.kill()
        eventually(lambda: all_is_done(sender, conn, store))
        eventually(lambda: second.health()[0] == 200)
    assert observing.dead_letters(conn) == {}
    assert api.api.at_once_max > 10  # both were at work at once


@contextlib.contextmanager
def between(environment: Environment, name: str) -> Iterator[TcpProxy]:
    """Put a proxy between the observer and one of its servers."""
    with proxying(environment[name]) as (proxy, through):
        environment[name] = through
        yield proxy


def test_servers_that_stop_or_stand_still_for_a_while_lose_no_sighting(
    environment: Environment, sender: Sender, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(between(environment, name)) for name in KINDS]
        given = environment | KEPT
        observer = stack.enter_context(programs.running("services.observer", **given))
        eventually(lambda: observer.health()[0] == 200)
        *_, keydb = proxies
        parts = iter([MANY[at : at + 40] for at in range(0, len(MANY), 40)])
        for trouble in (*(one.down for one in proxies), keydb.frozen):
            with trouble():
                sender.send(next(parts))
                eventually(lambda: observer.health()[0] == 503)
            eventually(lambda: observer.health()[0] == 200)
        sender.send(next(parts))
        eventually(lambda: all_is_done(sender, conn, store))
    assert observing.dead_letters(conn) == {}


def test_without_postgres_nothing_is_acknowledged(
    observer: Program, sender: Sender, conn: psycopg.Connection, dsn: str
) -> None:
    with psycopg.connect(dsn) as writing:
        writing.execute("INSERT INTO last_seen VALUES (7, now())")
        sender.send([7])
        locks.awaited(conn)  # the observer's own row has to wait for that one
        observer.kill()
        eventually(lambda: sender.ready() == 1)
