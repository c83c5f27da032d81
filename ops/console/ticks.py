"""Section 3: the last 120 boundaries, and how late each was shown."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Literal

from ops.console.drawing import log_share
from ops.console.tick_store import TICKS, Tick
from ops.status.core import LATENESS_MAX_S
from ops.wording import age, count, moment

CELL, TOP, FLOOR = 10, 12, 112
"""Units of the drawing: the width of a cell, and from where to where it may reach."""
GRACE_S = LATENESS_MAX_S + 1
"""So long after a boundary its tick may still be on its way."""

State = Literal["shown", "late", "missed", "unpublished"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A boundary in the drawing; without an epoch there was no tick."""

    boundary: datetime
    epoch: int | None
    state: State
    title: str
    x: int
    y: float
    height: float
    full: bool
    mark: str
    lateness_s: float | None
    rows: int | None


def view(
    found: Sequence[Tick], interval_s: float, now: datetime, whole: Collection[datetime] = ()
) -> dict[str, Any]:
    """Return a cell for each boundary; `whole`: at which KeyDB was seen to be sent everything.

    That a person had it sent, or that all was counted again, is on record.
    """
    known = {one.boundary: one for one in found}
    boundaries = _boundaries(found, interval_s, now)
    cells = [
        _cell(place, at, known.get(at), at in whole)
        for place, at in enumerate(boundaries, TICKS - len(boundaries))  # the newest at the right
    ]
    late = sorted(one.lateness_s for one in cells if one.lateness_s is not None)
    return {
        "cells": cells,
        "begins": cells and cells[-1].boundary - timedelta(seconds=interval_s) * (TICKS - 1),
        "width": TICKS * CELL,
        "top": TOP,
        "floor": FLOOR,
        "second_y": FLOOR - log_share(LATENESS_MAX_S) * (FLOOR - TOP),
        "median_s": median(late) if late else None,
        "p99_s": late[math.ceil(0.99 * len(late)) - 1] if late else None,
        "missed": sum(one.state == "missed" for one in cells),
        "over": sum(one.state == "late" for one in cells),
    }


def _boundaries(found: Sequence[Tick], interval_s: float, now: datetime) -> list[datetime]:
    """Return all boundaries between the first and the last, 120 at most: those missed, too."""
    if not found:
        return []
    interval = timedelta(seconds=interval_s)
    due = now - timedelta(seconds=(now.timestamp() - GRACE_S) % interval_s + GRACE_S)
    newest = max(found[-1].boundary, due)
    missing = round((newest - found[0].boundary) / interval)
    grid = {newest - number * interval for number in range(min(TICKS, missing + 1))}
    return sorted({*grid, *(one.boundary for one in found)})[-TICKS:]


def _cell(place: int, at: datetime, tick: Tick | None, whole: bool) -> Cell:  # noqa: FBT001 - a column
    late = (tick.published_at - at).total_seconds() if tick and tick.published_at else None
    state: State = "missed" if tick is None else "unpublished" if late is None else "shown"
    if late is not None and late > LATENESS_MAX_S:
        state = "late"
    height = 8.0 if late is None else max(2.0, log_share(late) * (FLOOR - TOP))
    is_baseline, is_failover = (tick.is_baseline, tick.is_failover) if tick else (False, False)
    is_full = whole or is_baseline or (tick is not None and tick.is_rebuilt)
    details = [
        moment(at),
        {"missed": "no tick", "unpublished": "not shown in KeyDB"}.get(state, f"{age(late)} late"),
        *([count(tick.rows or 0, "row")] if tick else []),
        *(["all balances sent"] if is_full else []),
        *(["baseline: another cluster, all counted again"] if is_baseline else []),
        *(["failover: ticks before it were lost"] if is_failover else []),
    ]
    return Cell(
        at, tick.epoch if tick else None, state, ", ".join(details), place * CELL, FLOOR - height,
        height, is_full,
        "baseline" if is_baseline else "failover" if is_failover else "",
        late, tick.rows if tick else None,
    )  # fmt: skip
