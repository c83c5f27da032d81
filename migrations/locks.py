"""Migrations get their locks by short waits, tried again; who is in the way is logged.

While somebody waits for a strong lock, all others wait behind, ticks and ingest among them. So a
wait ends after `WAIT_MAX_MS`, the step is undone, and others go on before it is tried again.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import LiteralString

import psycopg
import structlog
from psycopg import errors
from psycopg.rows import DictRow, dict_row

from shared.errors import Refusal

WAIT_MAX_MS = 300
POLL_EVERY_S = 0.1
PAUSE_FIRST_S, PAUSE_MAX_S = 0.5, 5.0

LIMIT_WAIT: LiteralString = "SELECT set_config('lock_timeout', %(ms)s::text, false)"
# A prepared transaction has no process: its pid is 0.
SELECT_BLOCKERS: LiteralString = r"""
SELECT DISTINCT b.pid, a.application_name AS application, a.usename AS login, a.state,
       extract(epoch FROM clock_timestamp() - a.xact_start)::int AS open_s,
       left(regexp_replace(a.query, '\s+', ' ', 'g'), 200) AS query
  FROM pg_stat_activity AS ours
 CROSS JOIN LATERAL unnest(pg_blocking_pids(ours.pid)) AS b (pid)
  LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid
 WHERE ours.pid = %(pid)s
   AND ours.wait_event_type = 'Lock'
 ORDER BY b.pid
"""

Step = Callable[[], object]
"""One transaction, or a single statement."""
RunStep = Callable[[str, Step], None]
"""Runs a step, which is named, as often as it takes."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Steps:
    """Runs steps on `conn`, each for `give_up_after_s` at most; `watch` sees who blocks `conn`."""

    conn: psycopg.Connection
    watch: psycopg.Connection
    stop: threading.Event
    give_up_after_s: float

    def run(self, name: str, step: Step) -> None:
        """Run `step` until it gets its locks. Raises `Refusal` when the time is over, or at `stop`.

        Raises what `step` raises, if that is not about locks.
        """
        began = time.monotonic()
        pause_s, blockers = PAUSE_FIRST_S, list[DictRow]()
        while not self._succeeds(step, blockers):
            waited_s = time.monotonic() - began
            for one in blockers:
                log.warning("migration_waits", step=name, waited_s=round(waited_s), **one)
            if waited_s > self.give_up_after_s or self.stop.wait(pause_s):
                raise Refusal(_reason(name, blockers, waited_s))
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _succeeds(self, step: Step, blockers: list[DictRow]) -> bool:
        """Say whether `step` got its locks; `blockers` become those seen, if there were any."""
        self.conn.execute(LIMIT_WAIT, {"ms": WAIT_MAX_MS})
        with ThreadPoolExecutor(1) as pool, self.watch.cursor(row_factory=dict_row) as watch:
            trying = pool.submit(step)
            while not wait([trying], POLL_EVERY_S).done:
                watch.execute(SELECT_BLOCKERS, {"pid": self.conn.info.backend_pid})
                blockers[:] = watch.fetchall() or blockers
        try:
            trying.result()
        except (errors.LockNotAvailable, errors.DeadlockDetected):
            return False
        self.conn.execute(LIMIT_WAIT, {"ms": 0})
        return True


def run_once(_name: str, step: Step) -> None:
    """Run a step once; it waits for locks as long as `lock_timeout` says."""
    step()


def _reason(name: str, blockers: Sequence[DictRow], waited_s: float) -> str:
    sessions = [f"{b['pid']} ({b['application'] or b['login']}: {b['query']})" for b in blockers]
    return (
        f"{name}: after {waited_s:.0f} s its locks were still not to be had, and nothing of it was"
        f" done; in the way: {', '.join(sessions) or 'nobody seen'}. Let that end, or end it by"
        " pg_terminate_backend(pid) (pid 0: a prepared transaction, see pg_prepared_xacts), then"
        " run this again"
    )
