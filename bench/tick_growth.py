"""Whether folds and ticks become slower with what is kept, and with how many there have been.

Measured, in one process, with the syncer's own code: a fold of 1,000 fresh rows and a tick of 100
providers, first with an empty outbox, then beside `--retained` rows that are counted but kept, a
day's partitions of them; and, beside one transaction that keeps its snapshot open throughout, the
first and the last 200 of 20,000 folds and of 2,000 ticks.

Not measured: the way of the tick message (`tick_lateness` does).
"""

import time
from collections.abc import Callable
from statistics import median
from typing import LiteralString

import psycopg

from bench.ground import Ground, Site, ground
from bench.result import Plan, Progress, Result, Row
from services.syncer.service import Syncer
from tests.support import ledger

QUESTION = "milliseconds of a fold and of a tick"
SAMPLES = 60
FRESH_ROWS, REMAINDER_ROWS = 1000, 200
TICKS, FOLDS_A_TICK, EDGE = 2000, 10, 200
KEPT_MAX, REPEATED_MAX = 1.5, 2.0

WORK: LiteralString = """
INSERT INTO historical_transactions (provider_id, transaction_value)
SELECT 1 + n %% 100, 5 FROM generate_series(1, %(rows)s) AS n
"""
MAKE_DAY: LiteralString = """
SELECT minutebook_make_partition(date_trunc('hour', now(), 'UTC') - make_interval(hours => ago))
  FROM generate_series(1, 24) AS ago
"""
# Each row belongs to one of many transactions, as in life; their ids must have been given out.
USE_XIDS: LiteralString = """
DO $$
BEGIN
    FOR n IN 1..10000 LOOP
        PERFORM pg_current_xact_id();
        COMMIT;
    END LOOP;
END
$$
"""
FILL: LiteralString = """
INSERT INTO outbox (xid, provider_id, amount, operation, created_at)
SELECT (%(first)s + n * 10000 / %(rows)s)::text::xid8, 1 + n %% 100, 0, 'added',
       now() - interval '24 hours' * (1 - n::float8 / %(rows)s)
  FROM generate_series(1::bigint, %(rows)s) AS n
"""

Times = tuple[list[float], list[float]]
"""Seconds of folds, seconds of ticks."""


def kept(site: Site, plan: Plan, progress: Progress) -> Result:
    """Compare nothing kept with `plan.retained` rows kept."""
    with ground(site) as fresh:
        progress.turn("nothing kept")
        before = _sampled(site, fresh, 1)
        progress.turn(f"{plan.retained:,} rows kept")
        _fill(fresh, plan.retained)
        after = _sampled(site, fresh, SAMPLES + 2)
    rows = [
        _row(f"{what}: nothing, then {plan.retained:,} rows kept", one, other, KEPT_MAX)
        for what, one, other in zip(("fold", "tick"), before, after, strict=True)
    ]
    return Result("tick_growth_kept", QUESTION, rows)


def repeated(site: Site, _plan: Plan, progress: Progress) -> Result:
    """Compare early with late, beside an idle snapshot."""
    with ground(site) as fresh:
        progress.turn(f"{TICKS * FOLDS_A_TICK:,} folds and {TICKS:,} ticks")
        times = _repeated(site, fresh)
    rows = [
        _row(f"{what}: first, then last {EDGE}", one[:EDGE], one[-EDGE:], REPEATED_MAX)
        for what, one in zip(("fold", "tick"), times, strict=True)
    ]
    return Result("tick_growth_repeated", QUESTION, rows)


def _sampled(site: Site, fresh: Ground, first: int) -> Times:
    folds, ticks = [], []
    with (
        ledger.syncing(fresh.dsn, site.keydb.url()) as syncer,
        psycopg.connect(fresh.dsn, autocommit=True) as conn,
    ):
        syncer.tick(ledger.minute(first))
        for number in range(1, SAMPLES + 1):
            conn.execute(WORK, {"rows": FRESH_ROWS})
            folds.append(_seconds(syncer.fold))
            conn.execute(WORK, {"rows": REMAINDER_ROWS})
            ticks.append(_tick(syncer, first + number))
    return folds, ticks


def _repeated(site: Site, fresh: Ground) -> Times:
    folds, ticks = [], []
    with (
        psycopg.connect(fresh.dsn) as idle,
        ledger.syncing(fresh.dsn, site.keydb.url()) as syncer,
        psycopg.connect(fresh.dsn, autocommit=True) as conn,
    ):
        idle.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        idle.execute("SELECT count(*) FROM outbox")
        for number in range(1, TICKS + 1):
            for _ in range(FOLDS_A_TICK):
                conn.execute(WORK, {"rows": 10})
                folds.append(_seconds(syncer.fold))
            ticks.append(_tick(syncer, number))
    return folds, ticks


def _fill(fresh: Ground, rows: int) -> None:
    with psycopg.connect(fresh.dsn, autocommit=True) as conn:
        conn.execute(MAKE_DAY)
        first = conn.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()
        conn.execute(USE_XIDS)
        conn.execute(FILL, {"first": first and first[0], "rows": rows})
        conn.execute("VACUUM ANALYZE outbox")
        conn.execute("CHECKPOINT")


def _tick(syncer: Syncer, number: int) -> float:
    return _seconds(lambda: syncer.tick(ledger.minute(number)))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun


def _row(what: str, before: list[float], after: list[float], target: float) -> Row:
    return {
        "what": what,
        "median ms": median(before) * 1000,
        "median ms then": median(after) * 1000,
        "ratio": median(after) / median(before),
        "target": target,
    }
