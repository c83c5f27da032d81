"""How late a tick is when much is waiting, when much changed, and among many providers.

Measured: the syncer as a process as it ships; the tick is published here, at the boundary, and a
reader waits for the watermark in KeyDB (`bench.reader`). Before each tick one transaction changes
what the case says; `waiting` sets the interval of folds to a minute, so that the whole million is
left to the tick, as it is for a syncer that has just started or was away. Ticks come as soon as the
changes are made, which the syncer does not expect; where `every_s` is set they come at its
multiples, as a ticker sends them.

Beside it, in the same run: the null probe, seen by the same reader.

Not measured: ingest beside it; `tick_lateness` does.
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

import pika
import psycopg
from pika.adapters.blocking_connection import BlockingChannel

from bench import programs
from bench.ground import Ground, Site, ground
from bench.reader import Reader, Seconds
from bench.result import Plan, Progress, Result, Row
from shared import tick
from shared.amqp import ticks

QUESTION = "milliseconds from a boundary to its watermark in KeyDB, by volume"
WARM_UP_TIMEOUT_S, GIVE_UP_S = 120.0, 20.0
INTERVAL_S = 60
SETTLE_S = 1.5
"""From the commit of the changes to the boundary, at the least: two or three folds."""

CHANGE = """
INSERT INTO historical_transactions (provider_id, transaction_value)
SELECT 1 + n %% %(providers)s, 5 FROM generate_series(1, %(rows)s) AS n
"""


@dataclass(frozen=True)
class Case:
    """Before each tick `rows` transactions change `changed` of `providers` providers."""

    name: str
    providers: int
    changed: int
    rows: int
    target_ms: float | None = None
    fold_every_s: float = 0.5
    every_s: int | None = None


CASES = (
    Case("100 of 100 providers", 100, 100, 1000),
    Case("100 of 1,000,000 providers", 1_000_000, 100, 1000),
    Case("100,000 providers", 100_000, 100_000, 100_000, 1000.0, every_s=12),
    Case("100,000 providers, unforeseen", 100_000, 100_000, 100_000, 1000.0),
    Case("1,000,000 rows waiting", 1000, 1000, 1_000_000, 600.0, 60.0),
)


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Take each case `plan.runs` times."""
    rows: list[Row] = []
    for case in CASES:
        progress.turn(case.name)
        with ground(site, providers=case.providers) as fresh:
            ticks, nulls = _watched(site, fresh, case, plan.runs)
        # Few of a million are held against few of few, the first case.
        twice_ms = 2 * rows[0]["median ms"] if len(rows) == 1 else None
        rows.append(
            {
                "changed before the tick": case.name,
                "ticks": len(ticks),
                "median ms": median(ticks) * 1000,
                "most ms": max(ticks) * 1000,
                "target ms": case.target_ms or twice_ms,
                "null probe, median ms": median(nulls) * 1000,
            }
        )
    return Result("tick_volume", QUESTION, rows)


def _watched(site: Site, fresh: Ground, case: Case, runs: int) -> tuple[Seconds, Seconds]:
    syncer = programs.service("syncer", SYNC_FOLD_INTERVAL_SECONDS=str(case.fold_every_s))
    ticks, nulls = [], []
    with (
        syncer.running(fresh) as running,
        programs.python_peer("null tick", "null_tick").running(fresh),
        _exchange(fresh) as channel,
        site.keydb.client() as client,
        psycopg.connect(fresh.dsn, autocommit=True) as conn,
    ):
        programs.wait_until(
            lambda: bool(running.metric("process_start_time_seconds")), 30, "no syncer"
        )
        reader = Reader(client)
        programs.wait_until(lambda: _consumed(channel), 30, "the syncer does not consume")
        boundary = int(time.time()) // (case.every_s or 1) * (case.every_s or 1)
        _send(channel, boundary, case.every_s or INTERVAL_S)
        reader.tick(boundary, WARM_UP_TIMEOUT_S)
        for run in range(runs + 1):
            conn.execute(CHANGE, {"providers": case.changed, "rows": case.rows})
            earliest = int(time.time() + SETTLE_S) + 1
            boundary = -(-earliest // (case.every_s or 1)) * (case.every_s or 1)
            null = reader.null(boundary - 1)
            time.sleep(max(0.0, boundary - time.time()))
            _send(channel, boundary, case.every_s or INTERVAL_S)
            late = reader.tick(boundary, GIVE_UP_S)
            if run > 0:  # the first one comes after a baseline, whenever that was shown
                nulls.append(null)
                ticks.append(late)
    return ticks, nulls


def _consumed(channel: BlockingChannel) -> bool:
    channel.queue_declare(ticks.QUEUE, durable=True, arguments=dict(ticks.QUEUE_ARGUMENTS))
    answer = channel.queue_declare(ticks.QUEUE, passive=True)
    return answer.method.consumer_count > 0


def _send(channel: BlockingChannel, boundary: int, interval_s: int) -> None:
    at = datetime.fromtimestamp(boundary, UTC)
    body = tick.encode(tick.Tick(at, interval_s, "bench"))
    channel.basic_publish(ticks.EXCHANGE, "", body)


@contextlib.contextmanager
def _exchange(fresh: Ground) -> Iterator[BlockingChannel]:
    parameters = pika.URLParameters(fresh.amqp_url)
    parameters.heartbeat = 0  # nobody polls it while a million rows are written
    with contextlib.closing(pika.BlockingConnection(parameters)) as connection:
        yield connection.channel()
