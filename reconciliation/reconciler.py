"""The syncer's reconciliation every so many ticks, in a thread that no tick ever waits for.

It has connections of its own, open only meanwhile. It reports and repairs nothing. A failure is
logged and counted, and the next one is tried when it is due.
"""

import contextlib
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import asdict

import psycopg
import structlog

from reconciliation import metrics, reconcile
from reconciliation.drift import Report
from services.syncer.projection import Projection
from shared.errors import Refusal, Unavailable
from shared.health import Turn, unwatched

POLL_S = 0.2
LINES_MAX = 20
"""How many differences of each kind get a log line; the summary counts all."""

log = structlog.get_logger()


class Reconciler:
    """Counts ticks in one thread and reconciles in another."""

    def __init__(
        self,
        connect: Callable[[], AbstractContextManager[psycopg.Connection]],
        connect_keydb: Callable[[], AbstractContextManager[Projection]],
        every: int,
        stop: threading.Event,
        turn: Turn = unwatched,
    ) -> None:
        """Both connect for one reconciliation; `every` is in ticks, 0 for never."""
        self._turn = turn
        self._connect = connect
        self._connect_keydb = connect_keydb
        self._every = every
        self._stop = stop
        self._ticks = 0
        self._stood_by = False
        self._due = threading.Event()

    def ticked(self) -> None:
        """Note that a due tick was written; who takes over from another reconciles at once."""
        self._ticks += 1
        if self._every and (self._stood_by or self._ticks % self._every == 0):
            self._due.set()
        self._stood_by = False

    def stood_by(self) -> None:
        """Note that another syncer handled a tick: what it had found is not known here."""
        self._stood_by = True
        metrics.DRIFT_PROVIDERS.set(math.nan)

    def live(self) -> None:
        """Reconcile whenever it is due until all is to stop."""
        while not self._stop.wait(POLL_S):
            self._turn(0.0)
            if self._due.is_set():
                self._due.clear()
                self.run_once()

    def run_once(self) -> Report | None:
        """Reconcile and report; return None if that failed."""
        try:
            with self._connect() as conn, self._connect_keydb() as projection:
                report = self._run(conn, projection)
        except (Unavailable, Refusal, psycopg.Error) as error:
            if not self._stop.is_set():
                metrics.RECONCILIATIONS.labels("failed").inc()
                log.warning("reconciliation_failed", error=str(error).partition("\n")[0])
            return None
        metrics.reconciled(report.drifting, report.duration_s)
        _report(report)
        return report

    def _run(self, conn: psycopg.Connection, projection: Projection) -> Report:
        """Reconcile; once all is to stop, cancel the statement: it may take minutes otherwise."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(reconcile.run, conn, projection)
            while not wait([running], POLL_S).done:
                if self._stop.is_set():
                    with contextlib.suppress(psycopg.Error):
                        conn.cancel_safe(timeout=1.0)
            return running.result()


def _report(report: Report) -> None:
    """Log a line per difference, up to a limit, and one that sums up."""
    for one in report.ledger.drifts[:LINES_MAX]:
        log.error("ledger_drift", **asdict(one), missing=one.missing)
    for key in report.keydb.drifts[:LINES_MAX]:
        log.error("keydb_drift", key=key.key, expected=key.expected, found=key.found)
    (log.error if report.drifting else log.info)(
        "reconciled",
        drifting=report.drifting,
        ledger_drifts=len(report.ledger.drifting),
        keydb_drifts=len(report.keydb.drifting),
        keydb=report.keydb.state,
        epoch=report.ledger.epoch,
        providers=report.ledger.providers,
        transactions=report.ledger.transactions,
        duration_ms=round(report.duration_s * 1000),
    )
