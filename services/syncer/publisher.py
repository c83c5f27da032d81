"""Showing the newest tick in KeyDB: what to send, from which watermark, and what came of it.

Nothing here decides about money, so all of it can be repeated.
"""

from dataclasses import dataclass
from datetime import datetime

import psycopg
import structlog

from services.syncer import core, metrics, store
from services.syncer.core import Found, Publication, Watermark
from services.syncer.projection import Answer, Moved, Projection
from shared import postgres, tracing
from shared.errors import Unavailable
from shared.metrics import RECONNECTS

ATTEMPTS_MAX = 3
"""How often a publication that was fenced is worked out again before the next round does it."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Published:
    """How a publication ended: `behind` means that the store does not show the newest tick yet.

    `current` says whether the tick that led to it was a new one, or the newest again.
    """

    state: str
    behind: bool
    current: bool = True


class Publisher:
    """Reads from one Postgres connection what one KeyDB is to show."""

    def __init__(self, conn: psycopg.Connection, projection: Projection) -> None:
        """`conn` is in autocommit mode."""
        self._conn = conn
        self._projection = projection
        self.trouble: Unavailable | None = None
        """Why KeyDB could not be read or written at the last attempt."""

    def publish(self, found: Found | None = None, planned: Publication | None = None) -> Published:
        """Take KeyDB to the newest tick; `found` is its watermark if that was just read.

        `planned` is what to send if the tick that was just written has said so.

        Values are absolute and the script compares before it sets, so this may be repeated at any
        time and by several syncers. Raises `Unavailable` of Postgres only.
        """
        for _ in range(ATTEMPTS_MAX):
            try:
                found = found or self._projection.read()
                with postgres.translating():
                    plan = planned or self._plan(found)
                    if isinstance(plan, Published):
                        self.trouble = None
                        if not plan.behind:
                            _seen(found)
                        return plan
                    with tracing.span("publish", {"keys": len(plan.values)}):
                        answer = self._projection.apply(plan)
            except Moved:
                found = planned = None  # read before it was emptied, say: it is looked at anew
                continue
            except Unavailable as error:
                if error.server != "keydb":
                    raise
                self._not_reached(error)
                return Published("unreachable", behind=True)
            self.trouble = None
            if answer.verdict != "fenced":
                self._note(plan, answer)
                return Published(answer.verdict, behind=False)
            metrics.FENCED.inc()
            log.warning("fenced", epoch=plan.target.epoch, expected=plan.found.raw_epoch)
            found = planned = None
        return Published("fenced", behind=True)

    def watch(self) -> bool:
        """Note what KeyDB shows, by whomever it was sent; say whether that is another boundary."""
        found = self.read()
        return found is not None and _seen(found)

    def read(self) -> Found | None:
        """Return KeyDB's watermark, None if it cannot be reached."""
        try:
            found = self._projection.read()
        except Unavailable as error:
            self._not_reached(error)
            return None
        self.trouble = None
        return found

    def _not_reached(self, error: Unavailable) -> None:
        self.trouble = error
        RECONNECTS.labels(error.server).inc()
        log.warning("keydb_not_reached", detail=error.detail)

    def _plan(self, found: Found) -> Publication | Published:
        newest = store.newest_tick(self._conn)
        if newest.boundary is None:
            return Published("baseline", behind=False)  # the first boundary shows it
        target = Watermark(newest.due_epoch, newest.due_token, core.rfc3339(newest.boundary))
        known = self._recognise(found)
        if core.settled(found, known=known, target=target):
            return Published("done", behind=False)
        if core.must_wait(found, known=known, target=target):
            return Published("waiting_for_next_tick", behind=True)
        if found.mark is not None and known:
            values, removals = store.changes(self._conn, found.mark.epoch, target.epoch)
            in_turn = store.is_next(self._conn, found.mark.epoch, target.epoch)
            cause: core.Cause = "next" if in_turn else "behind"
        else:
            values = store.everything(self._conn, target.epoch)
            removals = self._projection.keys(found) - values.keys()
            cause = "unknown" if found.raw_token else "missing"
        return Publication(found, target, values, tuple(removals), cause)

    def _recognise(self, found: Found) -> bool:
        """Say whether KeyDB shows a tick of ours; note since when, if its sender could not."""
        if found.mark is None:
            return False
        noted = store.is_noted(self._conn, found.mark)
        if noted is False and found.applied_at_s is not None:
            store.note_published(self._conn, found.mark.epoch, found.applied_at_s)
            log.info("publication_found", epoch=found.mark.epoch, boundary=found.mark.boundary)
        return noted is not None

    def _note(self, publication: Publication, answer: Answer) -> None:
        target = publication.target
        with postgres.translating():
            store.note_published(self._conn, target.epoch, answer.applied_at_s)
        if answer.verdict == "done":
            metrics.REPEATED.inc()
        lateness_s = answer.applied_at_s - datetime.fromisoformat(target.boundary).timestamp()
        metrics.published(target.boundary, publication.cause, lateness_s)
        log.info(
            "tick_published",
            epoch=target.epoch,
            boundary=target.boundary,
            keys=len(publication.values),
            removed=len(publication.removals),
            cause=publication.cause,
            verdict=answer.verdict,
            lateness_ms=round(lateness_s * 1000, 1),
        )


def _seen(found: Found) -> bool:
    lateness_s = core.lateness_s(found)
    if found.mark is None or lateness_s is None:
        return False
    return metrics.seen(found.mark.boundary, lateness_s)
