"""The feed and the notifier run beside the core, which does not notice what becomes of them."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import pairwise

import psycopg
import pytest
from docker.models.containers import Container

from tests.support import containers
from tests.support.eventually import eventually
from tests.support.stack import FOLLOWERS, INTERVAL_S, PROGRAMS, SERVERS, Stack

CORE = {*PROGRAMS, *SERVERS}
TICKS = 3
LATENESS_MAX_S = 1.0
NEWEST = "SELECT max(boundary) FROM tick WHERE published_at IS NOT NULL"
SHOWN = """
SELECT boundary, extract(epoch FROM published_at - boundary)::float8
  FROM tick
 WHERE boundary > %s
   AND published_at IS NOT NULL
 ORDER BY boundary
"""
BEHIND = """
SELECT f.name, (SELECT count(*) FROM tick WHERE epoch > f.epoch AND NOT interim)
  FROM follower f
"""


@pytest.fixture(scope="module")
def followed(second: Stack) -> Iterator[Stack]:
    """A running core, and then both followers."""
    before = {service: second.container(service).id for service in CORE}
    try:
        second.compose("--profile=feed", "--profile=notifier", "up", "--detach", "--wait")
        assert {service: second.container(service).id for service in CORE} == before
        yield second
    finally:
        second.compose("rm", "--force", "--stop", *FOLLOWERS)
        with second.postgres() as conn:  # else `ops status` would miss them
            conn.execute("DELETE FROM follower")


def both(stack: Stack, disturb: Callable[[Container], object]) -> None:
    for service in FOLLOWERS:
        disturb(stack.container(service))


def newest(conn: psycopg.Connection) -> datetime:
    ((found,),) = conn.execute(NEWEST).fetchall()
    assert isinstance(found, datetime)
    return found


def unhealthy_core(stack: Stack) -> list[str]:
    core = {stack.container(service).name for service in CORE}
    return [name for name in stack.unhealthy() if name in core]


DISTURBANCES: dict[str, tuple[Callable[[Container], object], Callable[[Container], object]]] = {
    "frozen": (containers.freeze, lambda one: one.unpause()),
    "killed": (lambda one: one.kill(), lambda one: one.start()),
    "stopped": (lambda one: one.stop(), lambda one: one.start()),
}


@pytest.mark.parametrize(("disturb", "mend"), DISTURBANCES.values(), ids=DISTURBANCES)
def test_the_core_is_healthy_and_in_time_while_both_are(
    followed: Stack,
    disturb: Callable[[Container], object],
    mend: Callable[[Container], object],
) -> None:
    with followed.postgres() as conn:
        since = newest(conn)
        both(followed, disturb)
        try:
            eventually(
                lambda: len(conn.execute(SHOWN, [since]).fetchall()) >= TICKS,
                (TICKS + 2) * INTERVAL_S + 10,
            )
            shown = conn.execute(SHOWN, [since]).fetchall()
            assert not unhealthy_core(followed)
        finally:
            both(followed, mend)
        steps = {later - earlier for (earlier, _), (later, _) in pairwise(shown)}
        assert steps == {timedelta(seconds=INTERVAL_S)}
        assert all(0 <= late_s <= LATENESS_MAX_S for _, late_s in shown)

        names = set(FOLLOWERS)
        eventually(
            lambda: {name for name, ticks in conn.execute(BEHIND) if ticks <= 1} == names, 60
        )
        eventually(lambda: not followed.unhealthy(), 60)


@pytest.mark.parametrize("service", FOLLOWERS)
def test_they_are_confined_as_the_core_s_services_are(followed: Stack, service: str) -> None:
    def host(name: str) -> dict[str, object]:
        config = followed.container(name).attrs["HostConfig"]
        told = ("ReadonlyRootfs", "CapDrop", "SecurityOpt", "Privileged", "Init", "RestartPolicy")
        return {one: config[one] for one in told}

    assert host(service) == host("syncer")
