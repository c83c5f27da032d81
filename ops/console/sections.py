"""What is asked for a look, and what each section makes of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from ops.balances.command import refuse_future
from ops.console import around, comparison, dead_letters, flow, servers, tick_store, ticks, verdict
from ops.console.balances import SOON, Balances
from ops.console.comparison import Comparison
from ops.console.full_sends import FullSends
from ops.console.look import Look, Part
from ops.console.metrics import Clock, Scraper
from ops.console.other_shards import OtherShards
from ops.console.settings import ConsoleSettings
from ops.doctor.command import inspect
from ops.status.core import assess
from ops.status.snapshot import Shown
from shared.ledger import history
from shared.postgres_pool import ReadingPool


class Sections:
    """The questions of a look, and the values of each section's template."""

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
        self._others = OtherShards(chosen)
        self._drift: float | None = None

    def parts(self) -> dict[str, Part]:
        """Return the questions, by name."""
        return {
            **servers.parts(self._chosen, self._pool, self._clock),
            "queue": Part(partial(flow.depths, self._chosen)),
            "metrics": Part(self._scraper.read),
            "ticks": Part(partial(self.ticks_until, None)),
            "compared": Part(self.comparison.step),
            "requests": Part(partial(around.requests, self._pool)),
            "notifications": Part(partial(around.told, self._pool)),
            "actions": Part(lambda: around.actions(self._pool, datetime.now(UTC) + SOON)),
            "doctor": Part(partial(inspect, self._chosen), seldom=True),
            **self._others.parts(),
        }

    def ticks_until(self, at: datetime | None) -> list[tick_store.Tick]:
        """Return the ticks until a time, or until now. Raises `Unavailable`."""
        with self._pool.connection() as conn:
            return tick_store.ticks(conn, at or datetime.now(UTC) + SOON)

    def views(self, look: Look) -> Mapping[str, Mapping[str, Any]]:
        """Return the values of each section's template."""
        now = datetime.now(UTC)
        snapshot = servers.snapshot(self._chosen, look)
        compared = look["compared"]
        if look["metrics"].value is not None:  # else what was known last
            self._drift = around.drift_of(look["metrics"].value)
        # What status does not look at: single balances. What differed does so until it is compared.
        if (differing := compared.value) is None:
            differing = list(self.comparison.known.values())
        findings = [
            *comparison.finding(differing),
            *around.findings(self._drift, look["doctor"]),
            *assess(snapshot),
            *self._others.findings(look),
        ]
        findings.sort(key=lambda one: one.level != "wrong")
        replicas = look["metrics"].value or []
        shown = snapshot.keydb.boundary if isinstance(snapshot.keydb, Shown) else None
        self._full_sends.note(replicas, shown, now)
        return {
            "verdict": verdict.view(
                snapshot, findings, now, not_compared=compared.error or look["known"].error
            ),
            "flow": flow.view(snapshot, findings, replicas, look["queue"].value),
            "ticks": self.ticks_view(look["ticks"].value or [], snapshot.interval_s, now)
            | {"error": look["ticks"].error},
            "dead_letters": dead_letters.view(snapshot),
            "around": around.view(snapshot, look, self._drift),
        }

    def past(self, at: datetime) -> Mapping[str, Mapping[str, Any]]:
        """Return the same of a past time: what is kept of it, nothing that is known of now only.

        Raises `Unavailable`, `Refusal` for a time that is yet to come or before the oldest tick.
        """
        with self._pool.connection() as conn:
            refuse_future(conn, at)
            found = tick_store.ticks(conn, at)
            if not found:
                raise history.unanswerable(at, history.oldest_boundary(conn))
        interval_s = self._chosen.tick_interval_seconds
        return {
            "verdict_past": {"at": at, "tick": found[-1], "error": ""},
            "ticks": self.ticks_view(found, interval_s, found[-1].boundary) | {"error": ""},
            "around": around.past(self._pool, at),
        }

    def ticks_view(
        self, found: list[tick_store.Tick], interval_s: float, now: datetime
    ) -> dict[str, Any]:
        """Return the values of the section of ticks."""
        sends = self._full_sends
        view = ticks.view(found, interval_s, now, sends.boundaries)
        return view | {"full_since": sends.since}
