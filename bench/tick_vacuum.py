"""Whether a vacuum that freezes very many rows delays ticks.

Measured: ticks beside half of the speed that ingest keeps up with here (`tick_lateness`), in a
database with `--retained` kept rows that nobody has vacuumed yet: half of `--ticks` beside nothing,
half from when a vacuum begins that freezes all of them. It pauses as autovacuum does with what the
migrations set. How long it took is said: ticks after its end were beside nothing.

Beside it the null probe, under the same load.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import LiteralString

import psycopg

from bench import history, load
from bench.ground import Ground, Site, ground
from bench.reader import Seconds, row
from bench.result import Plan, Progress, Result
from bench.tick_lateness import EVERY_SECOND, LOAD_SHARE, PROVIDERS, watched

QUESTION = "milliseconds from a boundary to its watermark in KeyDB, beside a vacuum"
TARGET_MOST_MS = 100.0

AS_AUTOVACUUM: LiteralString = "SET vacuum_cost_delay = '2ms'; SET vacuum_cost_limit = 100"
VACUUM: LiteralString = "VACUUM (FREEZE) historical_transactions"


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Watch ticks beside nothing, then beside the vacuum."""
    progress.turn("full speed of ingest")
    rate = LOAD_SHARE * load.full_speed(site, PROVIDERS, **EVERY_SECOND)
    half = (plan.ticks + 1) // 2
    with ground(site, providers=PROVIDERS) as fresh:
        history.fill(fresh, plan.retained, progress, frozen=False)
        progress.turn(f"{half} ticks beside {rate:,.0f} messages/s")
        alone, nulls, _ = watched(site, fresh, rate, half, RECONCILE_EVERY_TICKS="0")
        progress.turn(f"{half} ticks, and the vacuum of {plan.retained:,} rows")
        with _vacuuming(fresh) as took:
            beside, nulls_beside, _ = watched(site, fresh, rate, half, RECONCILE_EVERY_TICKS="0")
    target = {"target most": TARGET_MOST_MS}
    rows = [
        row("ticks", alone) | target,
        row("ticks beside the vacuum", beside) | target,
        row("null probe", nulls),
        row("null probe beside the vacuum", nulls_beside),
    ]
    note = f"{plan.retained:,} rows were frozen in {took[0]:,.0f} s, beside {rate:,.0f} messages/s"
    return Result("tick_vacuum", QUESTION, rows, [note])


@contextlib.contextmanager
def _vacuuming(fresh: Ground) -> Iterator[Seconds]:
    """Freeze all rows meanwhile; what is yielded has the seconds that it took, afterwards."""
    took: Seconds = []

    def vacuum() -> None:
        begun = time.monotonic()
        with psycopg.connect(fresh.dsn, autocommit=True) as conn:
            conn.execute(AS_AUTOVACUUM)
            conn.execute(VACUUM)
        took.append(time.monotonic() - begun)

    thread = threading.Thread(target=vacuum)
    thread.start()
    try:
        yield took
    finally:
        thread.join()
