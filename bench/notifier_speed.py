"""How long the notifier judges one tick at which many providers have changed, beside many alerts.

Measured: `judge_store.judge`, in a transaction that is rolled back, on a database with 20 ticks of
all 100,000 providers each, the last of which is judged. There are 10,000 alerts of single providers
and 100 of each provider, a quarter of each condition; the silent ones ask for ten different times,
so that ten past ticks are looked at as well. `met` is how many notifications are written.

Beside it, in the same run: the plain reading of both balances of each provider that changed, which
no way to judge can do without.

Not measured: publishing, which the broker's speed decides.
"""

import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import LiteralString

import psycopg
from pydantic import Secret

from bench.ground import Ground, Site, ground
from bench.result import Plan, Progress, Result, Row
from services.notifier import judge_store
from shared import postgres
from shared.follower_store import Span, Tick
from shared.settings import PostgresSettings
from tests.support.ledger import minute

QUESTION = "milliseconds to judge one tick"
PROVIDERS, TICKS = 100_000, 20
TARGET_MS = 2000.0

FILL: list[LiteralString] = [
    "DELETE FROM balance",
    "DELETE FROM tick",
    """
    INSERT INTO tick
    SELECT t, 'token-' || t, %(start)s::timestamptz + make_interval(mins => t),
           pg_current_snapshot(), system_identifier, 0, 0
      FROM generate_series(0, %(ticks)s) t, pg_control_system()
    """,
    """
    INSERT INTO balance
    SELECT p, t, p || '_p', false, floor(random() * 100000)
      FROM generate_series(0, %(ticks)s) t, generate_series(1, %(providers)s) p
    """,
    "VACUUM ANALYZE balance",
]
# Those of single providers are met often, those of each provider by few.
ADD_SINGLE: LiteralString = """
INSERT INTO alert (provider_id, condition, threshold, for_seconds, source, source_id, since_epoch)
SELECT a * 10, condition, CASE WHEN condition <> 'silent' THEN floor(random() * 100000) END,
       CASE WHEN condition = 'silent' THEN 60 * (1 + mod(a / 4, 10)) END, 'bench', a, 0
  FROM generate_series(1, 10000) a,
       LATERAL (SELECT (ARRAY['below', 'above', 'change', 'silent'])[1 + mod(a, 4)] AS condition) c
"""
ADD_EACH: LiteralString = """
INSERT INTO alert (condition, threshold, for_seconds, source, source_id, since_epoch)
SELECT condition,
       CASE condition WHEN 'below' THEN a WHEN 'above' THEN 100000 - a
                      WHEN 'change' THEN 99000 + a * 10 END,
       CASE WHEN condition = 'silent' THEN 60 * (1 + mod(a / 4, 10)) END, 'bench each', a, 0
  FROM generate_series(1, 100) a,
       LATERAL (SELECT (ARRAY['below', 'above', 'change', 'silent'])[1 + mod(a, 4)] AS condition) c
"""
READ_PAIRS: LiteralString = """
SELECT count(*), sum(c.balance - b.balance)
  FROM (SELECT provider_id, balance
          FROM balance
         WHERE epoch = %(epoch)s) AS c
 CROSS JOIN LATERAL (
       SELECT balance
         FROM balance
        WHERE provider_id = c.provider_id
          AND epoch < %(epoch)s
        ORDER BY epoch DESC
        LIMIT 1
       ) AS b
"""
CASES = (("10,000 of single providers", ADD_SINGLE), ("and 100 of each provider", ADD_EACH))


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Judge the same tick `plan.runs` times."""
    with ground(site) as fresh:
        progress.turn(f"{TICKS} ticks of {PROVIDERS:,} providers")
        _fill(fresh)
        settings = PostgresSettings(postgres_dsn=Secret(fresh.dsn))
        options = judge_store.OPTIONS
        with postgres.connection(settings, application="bench", options=options) as conn:
            given = {"epoch": TICKS}
            rows = [_row(plan, "none: balances are read", None, lambda: _count(conn, given))]
            for name, add in CASES:
                progress.turn(name)
                conn.execute(add)
                conn.execute("ANALYZE alert")
                # A tick judges only alerts that its snapshot sees.
                snapshot = postgres.scalar(conn, "SELECT pg_current_snapshot()::text")
                span = Span(_tick(TICKS - 1), _tick(TICKS, snapshot), 0)
                rows.append(_row(plan, name, TARGET_MS, partial(_judge, conn, span)))
    return Result("notifier_speed", QUESTION, rows)


def _fill(fresh: Ground) -> None:
    with psycopg.connect(fresh.dsn, autocommit=True) as conn:
        given = {"ticks": TICKS, "providers": PROVIDERS, "start": minute(0)}
        for statement in FILL:
            conn.execute(statement, given if "%(" in statement else None)


def _tick(epoch: int, snapshot: str = "") -> Tick:
    return Tick(epoch, f"token-{epoch}", minute(epoch), snapshot)


def _count(conn: psycopg.Connection, given: dict[str, int]) -> int:
    conn.execute(READ_PAIRS, given)
    return 0


def _judge(conn: psycopg.Connection, span: Span) -> int:
    with conn.transaction(force_rollback=True):
        return judge_store.judge(conn, span).total()


def _row(plan: Plan, name: str, target_ms: float | None, work: Callable[[], int]) -> Row:
    met = work()  # what is read is in memory from then on
    seconds = [_seconds(work) for _ in range(plan.runs)]
    return {
        "alerts": name,
        "met": met,
        "median ms": median(seconds) * 1000,
        "most ms": max(seconds) * 1000,
        "target ms": target_ms,
    }


def _seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began
