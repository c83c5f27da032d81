"""What is asked for a poll, and what each section makes of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ops.balances.command import refuse_future
from ops.console import (
    comparison,
    dead_letters,
    flow,
    operations,
    servers,
    tick_store,
    ticks,
    verdict,
)
from ops.console.balances import SOON, Balances
from ops.console.comparison import Comparison
from ops.console.full_sends import FullSends
from ops.console.metrics import Clock, Scraper
from ops.console.poll import Part, Poll
from ops.console.settings import ConsoleSettings
from ops.doctor.command import inspect
from ops.status.core import Finding, assess
from ops.status.snapshot import Shown
from shared.ledger import history
from shared.postgres_pool import ReadingPool


class Sections:
    """The questions of a poll, and the values of each section's template."""

    def __init__(
        self, chosen: ConsoleSettings, pool: ReadingPool, balances: Balances, clock: Clock
    ) -> None:
        """`clock` returns seconds and never goes back."""
        self._chosen = chosen
        self._pool = pool
        self._clock = clock
        self._scraper = Scraper(chosen, clock)
        self.comparison = Comparison(pool, balances)
        self._full_sends = FullSends()
        self._drift: float | None = None

    def parts(self) -> dict[str, Part]:
        """Return the questions, by name."""
        return {
            **servers.parts(self._chosen, self._pool, self._clock),
            "queue": Part(partial(flow.depths, self._chosen)),
            "metrics": Part(self._scraper.read),
            "ticks": Part(partial(self.ticks_until, None)),
            "compared": Part(self.comparison.step),
            "requests": Part(partial(operations.requests, self._pool)),
            "notifications": Part(partial(operations.told, self._pool)),
            "actions": Part(lambda: operations.actions(self._pool, datetime.now(UTC) + SOON)),
            "doctor": Part(partial(inspect, self._chosen), seldom=True),
        }

    def ticks_until(self, at: datetime | None) -> list[tick_store.Tick]:
        """Return the ticks until a time, or until now.

        Raises `Unavailable`, `Refusal` for a time in the future.
        """
        with self._pool.connection() as conn:
            if at is not None:
                refuse_future(conn, at)
            return tick_store.ticks(conn, at or datetime.now(UTC) + SOON)

    def views(self, poll: Poll) -> Mapping[str, Mapping[str, Any]]:
        """Return the values of each section's template."""
        now = datetime.now(UTC)
        snapshot = servers.snapshot(self._chosen, poll)
        if poll["metrics"].value is not None:  # else what was known last
            self._drift = operations.drift_of(poll["metrics"].value)
        findings = [
            *operations.drifting(self._drift),
            *self.findings(poll),
            *assess(snapshot),
        ]
        findings.sort(key=lambda one: one.level != "wrong")
        replicas = poll["metrics"].value or []
        shown = snapshot.keydb.boundary if isinstance(snapshot.keydb, Shown) else None
        self._full_sends.note(replicas, shown, now)
        return {
            "verdict": verdict.view(snapshot, findings, now, not_compared=not_compared(poll)),
            "flow": flow.view(snapshot, findings, replicas, poll["queue"].value),
            "ticks": self.ticks_view(poll["ticks"].value or [], snapshot.interval_s, now)
            | {"error": poll["ticks"].error},
            "dead_letters": dead_letters.view(snapshot),
            "operations": operations.view(snapshot, poll, self._drift),
        }

    def findings(self, poll: Poll) -> list[Finding]:
        """Return what is wrong with what `ops status` does not look at: balances, settings."""
        if (differing := poll["compared"].value) is None:  # what differed does so until compared
            differing = list(self.comparison.known.values())
        return [*comparison.finding(differing), *operations.failing(poll["doctor"])]

    def past(self, at: datetime) -> Mapping[str, Mapping[str, Any]]:
        """Return the same of a past time: what is kept of it, nothing that is known of now only.

        Raises `Unavailable`, `Refusal` for a time in the future or before the oldest tick.
        """
        with self._pool.connection() as conn:
            refuse_future(conn, at)
            found = tick_store.ticks(conn, at)
            if not found:
                raise history.unanswerable(at, history.oldest_boundary(conn))
        interval_s = self._chosen.tick_interval_seconds
        return {
            "verdict_past": {"at": at, "tick": found[-1], "error": ""},
            "ticks": self.ticks_view(found, interval_s, at) | {"error": ""},
            "operations": operations.past(self._pool, at),
        }

    def ticks_view(
        self, found: list[tick_store.Tick], interval_s: float, now: datetime
    ) -> dict[str, Any]:
        """Return the values of the section of ticks."""
        sends = self._full_sends
        view = ticks.view(found, interval_s, now, sends.boundaries)
        return view | {"full_since": sends.since}


def not_compared(poll: Poll) -> str:
    """Return why it is not known whether KeyDB shows the balances."""
    return poll["compared"].error or poll["known"].error
