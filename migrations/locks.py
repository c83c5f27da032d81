"""Locks had without holding anybody up: short waits, tried again, and who is in the way is named.

Whoever waits for a strong lock has all others wait behind it, ticks and ingest among them. So a
wait ends after `WAIT_MAX_MS`, the step is undone, and others go on before it is tried again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import LiteralString, NamedTuple

import psycopg
import structlog
from psycopg import errors

from shared.errors import Refusal

WAIT_MAX_MS = 300
LOOK_EVERY_S = 0.1
PAUSE_FIRST_S, PAUSE_MAX_S = 0.5, 5.0

LIMIT_WAIT: LiteralString = "SELECT set_config('lock_timeout', %(ms)s::text, false)"
# A prepared transaction has no process: its pid is 0.
SELECT_IN_THE_WAY: LiteralString = r"""
SELECT DISTINCT b.pid, a.application_name, a.usename, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::int,
       left(regexp_replace(a.query, '\s+', ' ', 'g'), 200)
  FROM pg_stat_activity AS ours
 CROSS JOIN LATERAL unnest(pg_blocking_pids(ours.pid)) AS b (pid)
  LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid
 WHERE ours.pid = %(pid)s
   AND ours.wait_event_type = 'Lock'
 ORDER BY b.pid
"""

Step = Callable[[], object]
Patiently = Callable[[str, Step], None]
"""Does a step, which is named, as often as it takes; the step is one transaction."""

log = structlog.get_logger()


class InTheWay(NamedTuple):
    """A session that holds, or waits before us for, what we wait for."""

    pid: int
    application: str | None
    login: str | None
    state: str | None
    open_s: int | None
    query: str | None


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a step is tried; `watch` sees who is in the way of `conn`."""

    conn: psycopg.Connection
    watch: psycopg.Connection
    stop: threading.Event
    give_up_after_s: float

    def __call__(self, name: str, step: Step) -> None:
        """Do `step` once it gets its locks. Raises `Refusal` when the time is over, or at `stop`.

        Raises what `step` raises, if that is not about locks.
        """
        began = time.monotonic()
        pause_s, seen = PAUSE_FIRST_S, list[InTheWay]()
        while True:
            done, found = self._try(step)
            if done:
                return
            seen = found or seen
            waited_s = time.monotonic() - began
            for one in seen:
                facts = one._asdict()
                log.warning("migration_waits", step=name, waited_s=round(waited_s), **facts)
            if waited_s > self.give_up_after_s or self.stop.wait(pause_s):
                raise Refusal(_why(name, seen, waited_s))
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _try(self, step: Step) -> tuple[bool, list[InTheWay]]:
        self.conn.execute(LIMIT_WAIT, {"ms": WAIT_MAX_MS})
        seen: list[InTheWay] = []
        with ThreadPoolExecutor(1) as pool:
            trying = pool.submit(step)
            while not wait([trying], LOOK_EVERY_S).done:
                seen = self._look() or seen
        try:
            trying.result()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            return False, seen
        self.conn.execute(LIMIT_WAIT, {"ms": 0})
        return True, seen

    def _look(self) -> list[InTheWay]:
        rows = self.watch.execute(SELECT_IN_THE_WAY, {"pid": self.conn.info.backend_pid})
        return [InTheWay(*row) for row in rows]


def at_once(_name: str, step: Step) -> None:
    """Do a step and wait for its locks as long as `lock_timeout` has it."""
    step()


def _why(name: str, seen: Sequence[InTheWay], waited_s: float) -> str:
    pids = ", ".join(f"{one.pid} ({one.application or one.login}: {one.query})" for one in seen)
    return (
        f"{name}: after {waited_s:.0f} s its locks were still not to be had, and nothing of it was"
        f" done; in the way: {pids or 'nobody seen'}. Let that end, or end it by"
        " pg_terminate_backend(pid) (pid 0: a prepared transaction, see pg_prepared_xacts), then"
        " run this again"
    )
