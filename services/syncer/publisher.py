"""Showing the newest tick in KeyDB: what to send, from which watermark, and what came of it.

Nothing here decides about money, so all of it can be repeated.
"""

import contextlib
from dataclasses import dataclass
from datetime import datetime

import psycopg
import structlog

from services.syncer import core, metrics, publish_store, tick_store
from services.syncer.core import DueTick, ObservedWatermark, Publication, Watermark
from services.syncer.projection import Projection, ScriptResult, WatermarkChanged
from shared import postgres, tracing
from shared.errors import Unavailable
from shared.retry import RECONNECTS

ATTEMPTS_MAX = 3
"""How often what to send is worked out at once, because KeyDB shows another watermark by then."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PublishResult:
    """How it ended; `behind`: KeyDB does not show the newest due tick yet."""

    state: str
    behind: bool
    boundary_class: core.BoundaryClass | None = None
    """Of the boundary whose message led to it, if one did."""


class Publisher:
    """Reads from one Postgres connection what one KeyDB must show."""

    def __init__(self, conn: psycopg.Connection, projection: Projection) -> None:
        """`conn` is in autocommit mode."""
        self._conn = conn
        self._projection = projection
        self.trouble: Unavailable | None = None
        """Why KeyDB could not be read or written at the last attempt."""

    def publish(
        self, observed: ObservedWatermark | None = None, written: DueTick | None = None
    ) -> PublishResult:
        """Take KeyDB to the newest due tick.

        `observed` is KeyDB's watermark if that was just read, `written` the tick if it was just
        written; the rest is read. Values are absolute and the script compares before it sets, so
        this may be repeated at any time, by several syncers. Raises `Unavailable` of Postgres only.
        """
        try:
            for _ in range(ATTEMPTS_MAX):
                with contextlib.suppress(WatermarkChanged):
                    published = self._attempt(observed or self._projection.read(), written)
                    self.trouble = None
                    return published
                observed = written = None  # of a KeyDB that changed meanwhile: all is read again
        except Unavailable as error:
            if error.server != "keydb":
                raise
            self._not_reached(error)
            return PublishResult("unreachable", behind=True)
        self.trouble = None
        return PublishResult("fenced", behind=True)

    def watch(self) -> bool:
        """Note which boundary KeyDB shows, whoever sent it; say whether it is another one now."""
        observed = self.read()
        return observed is not None and _note_shown(observed)

    def read(self) -> ObservedWatermark | None:
        """Return KeyDB's watermark, None if it cannot be reached."""
        try:
            observed = self._projection.read()
        except Unavailable as error:
            self._not_reached(error)
            return None
        self.trouble = None
        return observed

    def _not_reached(self, error: Unavailable) -> None:
        self.trouble = error
        RECONNECTS.labels(error.server).inc()
        log.warning("keydb_not_reached", detail=error.detail)

    def _attempt(self, observed: ObservedWatermark, written: DueTick | None) -> PublishResult:
        """Return how it ended. Raises `WatermarkChanged` if KeyDB shows `observed` no more.

        Mostly KeyDB shows the due tick before the one just written: it is sent what that changed.
        """
        shown = observed.watermark
        if shown and written and (shown.epoch, shown.token) == written.previous:
            return self._send(Publication(observed, written.watermark, written.values, (), "next"))
        with postgres.translating():
            newest = tick_store.newest_tick(self._conn)
            if newest.due_boundary is None:
                _note_shown(observed)
                return PublishResult("baseline", behind=False)  # the first boundary shows it
            boundary = core.rfc3339(newest.due_boundary)
            target = Watermark(newest.due_epoch, newest.due_token, boundary)
            ours = shown is not None and publish_store.is_ours(self._conn, shown)
            if shown and ours:
                self._note_found(shown, observed.applied_at_s)
            way = core.classify_watermark(shown, target, ours=ours)
            if way == "done":
                _note_shown(observed)
                return PublishResult("done", behind=False)
            if way == "wait":
                return PublishResult("waiting_for_next_tick", behind=True)
            if shown and way == "changes":
                publication = self._changes(observed, shown.epoch, target)
            else:
                publication = self._everything(observed, target)
        return self._send(publication)

    def _send(self, publication: Publication) -> PublishResult:
        """Send it. Raises `WatermarkChanged` if KeyDB shows no more what it builds on."""
        with tracing.span("publish", {"keys": len(publication.values)}):
            result = self._projection.apply(publication)
        if result.outcome == "fenced":
            metrics.FENCED.inc()
            epoch, expected = publication.target.epoch, publication.observed.raw_epoch
            log.warning("fenced", epoch=epoch, expected=expected)
            raise WatermarkChanged
        self._note_published(publication, result)
        return PublishResult(result.outcome, behind=False)

    def _note_found(self, shown: Watermark, applied_at_s: float | None) -> None:
        """Note when KeyDB applied a tick of ours, unless its sender did: it may have died."""
        if applied_at_s is None:
            return
        if publish_store.note_published(self._conn, shown.epoch, applied_at_s):
            log.info("publication_found", epoch=shown.epoch, boundary=shown.boundary)

    def _changes(self, observed: ObservedWatermark, known: int, target: Watermark) -> Publication:
        values, removals = publish_store.changes(self._conn, known, target.epoch)
        is_successor = publish_store.is_successor(self._conn, known, target.epoch)
        cause: core.Cause = "next" if is_successor else "behind"
        return Publication(observed, target, values, tuple(removals), cause)

    def _everything(self, observed: ObservedWatermark, target: Watermark) -> Publication:
        values = publish_store.everything(self._conn, target.epoch)
        removals = self._projection.keys(observed) - values.keys()
        cause: core.Cause = "unknown" if observed.raw_token else "missing"
        return Publication(observed, target, values, tuple(removals), cause)

    def _note_published(self, publication: Publication, result: ScriptResult) -> None:
        target = publication.target
        with postgres.translating():
            publish_store.note_published(self._conn, target.epoch, result.applied_at_s)
        if result.outcome == "done":
            metrics.REPEATED.inc()
        lateness_s = result.applied_at_s - datetime.fromisoformat(target.boundary).timestamp()
        metrics.shown(target.boundary, lateness_s)
        if publication.cause == "next":  # of others, KeyDB's trouble made them late
            metrics.LATENESS.observe(lateness_s)
        else:
            metrics.REPUBLISHED.labels(publication.cause).inc()
        log.info(
            "tick_published",
            epoch=target.epoch,
            boundary=target.boundary,
            keys=len(publication.values),
            removed=len(publication.removals),
            cause=publication.cause,
            verdict=result.outcome,
            lateness_ms=round(lateness_s * 1000, 1),
        )


def _note_shown(observed: ObservedWatermark) -> bool:
    lateness_s = core.lateness_s(observed)
    if observed.watermark is None or lateness_s is None:
        return False
    return metrics.shown(observed.watermark.boundary, lateness_s)
