"""A syncer or a follower falls asleep at a step, another is at work meanwhile, and then it wakes.

Nothing of what it had in hand may do harm. Two syncers that only die are never in each other's way:
the broker gives the place to one when the other is gone.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import redis
from docker.models.containers import Container

from shared.errors import Unavailable
from tests.faults import addresses
from tests.faults.container_faults import part, start
from tests.faults.fault import Fault, Struck
from tests.faults.kill_faults import GIVE, POLL_S, obeys
from tests.faults.kill_orders import ASLEEP
from tests.support import containers
from tests.support.eventually import eventually
from tests.support.stack import INTERVAL_S, Stack

IS_ASLEEP = 'test -e "$KILL_POINT_FILE.asleep"'
WAKE = 'rm -f "$KILL_POINT_FILE" "$KILL_POINT_FILE.asleep"'
FALLS_WITHIN_S = 3 * INTERVAL_S
AT_WORK_WITHIN_S = 2.5 * INTERVAL_S
PLACE_GONE_WITHIN_S = 40.0
"""The broker gives a place to another when two or three heartbeats were not answered."""
TICKS_MEANWHILE = 2

END_SESSIONS = """
SELECT pg_terminate_backend(pid)
  FROM pg_stat_activity
 WHERE application_name = %s
"""
FOLLOWED = "SELECT epoch FROM follower WHERE name = %s"

Meanwhile = Callable[[Stack, Container], bool]


@dataclass(frozen=True)
class Sleep:
    """One of the syncers sleeps at `step` while `meanwhile` happens; false: with no effect."""

    name: str
    step: str
    meanwhile: Meanwhile
    part: str = "syncer"

    def strike(self, stack: Stack) -> Struck:
        """Have one after another fall asleep until it was the right one. Fails if none was."""
        candidates = stack.containers(self.part)
        for one in random.sample(candidates, len(candidates)):
            with _asleep(one, self.step) as is_asleep:
                if is_asleep and self.meanwhile(stack, one):
                    return Struck(in_flight=True)
        message = f"{self.part}: {self.name}: nobody slept while another was at work"
        raise AssertionError(message)


def overtaken(stack: Stack, _sleeper: Container) -> bool:
    """Wait until another has the sleeper's place, and KeyDB has gone on."""
    return _goes_on(stack, PLACE_GONE_WITHIN_S)


def left_alone(stack: Stack, sleeper: Container) -> bool:
    """While the sleeper stands by, let the other do some ticks and die: the next is the sleeper's.

    All of it in less time than the broker takes to give the sleeper up.
    """
    if not _goes_on(stack, AT_WORK_WITHIN_S):
        return False
    others = [one for one in stack.containers("syncer") if one.id != sleeper.id]
    for one in others:
        one.kill()
    try:
        threading.Event().wait(INTERVAL_S)
    finally:
        start(others)
    return True


@contextlib.contextmanager
def _asleep(one: Container, step: str) -> Iterator[bool]:
    """Yield whether it fell asleep; it wakes in the end."""
    try:
        obeys(one, GIVE, ASLEEP + step)
        yield _within(lambda: obeys(one, IS_ASLEEP), FALLS_WITHIN_S, containers.EXEC_EVERY_S)
    finally:
        obeys(one, WAKE)


def _goes_on(stack: Stack, within_s: float) -> bool:
    begun = _epoch(stack)
    return _within(lambda: _epoch(stack) >= begun + TICKS_MEANWHILE, within_s)


def _within(probe: Callable[[], bool], timeout_s: float, pause_s: float = POLL_S) -> bool:
    with contextlib.suppress(AssertionError):
        eventually(probe, timeout_s, pause_s=pause_s)
        return True
    return False


def _epoch(stack: Stack) -> int:
    """Return which tick KeyDB shows, 0 while it cannot be asked."""
    with contextlib.suppress(Unavailable, redis.exceptions.RedisError, OSError):
        port = addresses.keydb_port(stack)
        with redis.Redis("127.0.0.1", port, decode_responses=True, socket_timeout=1) as store:
            return int(str(store.hget("minutebook:watermark", "epoch") or 0))
    return 0


def replaced(stack: Stack, sleeper: Container) -> bool:
    """Have Postgres end the sleeper's session, as it does with one that was idle for too long."""
    service = part(sleeper)
    with contextlib.suppress(Unavailable, psycopg.Error):
        dsn = addresses.postgres_dsn(stack, "sleep")
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(END_SESSIONS, [f"minutebook-{service}"])
            ((begun,),) = conn.execute(FOLLOWED, [service]).fetchall()
            goal = begun + TICKS_MEANWHILE
            return _within(
                lambda: conn.execute(FOLLOWED, [service]).fetchall() >= [(goal,)],
                PLACE_GONE_WITHIN_S,
            )
    return False


FAULTS: list[Fault] = [
    Sleep("asleep before the script while another takes its place", "before script", overtaken),
    Sleep("asleep after a fold while another is at work and dies", "after fold", left_alone),
    Sleep("asleep before tick.closed while another goes on", "events confirmed", replaced, "feed"),
    Sleep("asleep before a publish while another goes on", "before publish", replaced, "notifier"),
    Sleep("asleep before a reply while another goes on", "before publish", replaced, "tracker"),
]
