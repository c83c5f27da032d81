"""KeyDB from Postgres while all is live: every value sent again, by the syncer's own script.

First a claim takes the watermark to a pair that no database knows, then everything is sent behind
it. A syncer whose tick falls in between finds an unknown watermark and sends everything itself;
the one that comes second is fenced. Nothing but the compare-and-set changes KeyDB.
"""

from dataclasses import dataclass

import psycopg

from services.syncer import core, publish_store, tick_store
from services.syncer.core import Publication, Watermark
from services.syncer.projection import Projection, WatermarkChanged
from shared import postgres
from shared.errors import Refusal

ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What KeyDB shows now: how many keys were sent and how many of ours had to go."""

    epoch: int
    boundary: str
    keys: int
    removed: int


def rebuild(conn: psycopg.Connection, projection: Projection) -> Rebuilt:
    """Send everything of the newest tick. Raises `Unavailable`; may be repeated. `Refusal`."""
    with postgres.translating():
        for _ in range(ATTEMPTS_MAX):
            observed = projection.read()
            target = _newest(conn)
            shown = observed.watermark
            ours = shown is not None and publish_store.is_ours(conn, shown)
            if core.classify_watermark(shown, target, ours=ours) == "wait":
                raise Refusal(
                    f"KeyDB shows epoch {observed.raw_epoch} of another life: the next tick is"
                    " numbered above it and sends everything"
                )
            claim = projection.invalidate_watermark(observed)
            if claim is None:
                continue  # a syncer was faster: start again from what it sent
            values = publish_store.everything(conn, target.epoch)
            try:
                removals = tuple(projection.keys(claim) - values.keys())
            except WatermarkChanged:
                continue
            whole = Publication(claim, target, values, removals, "unknown")
            if projection.apply(whole).outcome != "fenced":
                return Rebuilt(target.epoch, target.boundary, len(values), len(removals))
    raise Refusal("syncers were faster each time: they have sent everything themselves")


def _newest(conn: psycopg.Connection) -> Watermark:
    newest = tick_store.newest_tick(conn)
    if newest.due_boundary is None:
        raise Refusal("there is no tick yet: the first boundary shows everything")
    return Watermark(newest.due_epoch, newest.due_token, core.rfc3339(newest.due_boundary))
