"""How late a tick is: from the boundary to the watermark that a reader sees in KeyDB.

Measured: ticks of one second, our ticker, syncer and ingest as processes as they ship, while ingest
runs at half of what it keeps up with here and every one of 1,000 providers changes in every tick. A
reader outside of them looks by the same clock (`bench.reader`).

Beside it, in the same run and under the same load, half a second after each boundary: the null
probe (`bench.peers.null_tick`), seen by the same reader in the same way.

Not measured: networks, a machine of its own for each part. Here they all share the cores, so the
load that is put on is part of the lateness of both.
"""

import time
from statistics import median
from typing import LiteralString

import psycopg

from bench import load, plot, programs
from bench.ground import Ground, Site, ground
from bench.reader import Reader, Seconds, row
from bench.result import Plan, Progress, Result, Row

QUESTION = "milliseconds from a boundary to its watermark in KeyDB"
CHANGING = 1000
PROVIDERS = CHANGING + 10
"""Ten of which nothing is published: see `ground.ordinary`."""
EVERY_SECOND = {"TICK_INTERVAL_SECONDS": "1"}
LOAD_SHARE = 0.5
WARM_UP_TICKS = 5
MEDIAN_ABOVE_MS, P99_FACTOR, P99_ABOVE_MS = 15.0, 2.0, 25.0

SELECT_TICKS: LiteralString = """
SELECT (SELECT sum(i.rows) FROM tick i WHERE i.epoch > before.epoch AND i.epoch <= t.epoch)::int,
       (SELECT count(DISTINCT provider_id)
          FROM balance b
         WHERE b.epoch > before.epoch
           AND b.epoch <= t.epoch)::int,
       (SELECT count(*) FROM balance b WHERE b.epoch = t.epoch)::int
  FROM tick t
 CROSS JOIN LATERAL (
       SELECT epoch FROM tick WHERE epoch < t.epoch AND NOT interim ORDER BY epoch DESC LIMIT 1
       ) AS before
 WHERE t.boundary > to_timestamp(%(after)s)
   AND t.boundary <= to_timestamp(%(last)s)
"""


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Watch `plan.ticks` ticks under load."""
    progress.turn("full speed of ingest")
    rate = LOAD_SHARE * load.full_speed(site, PROVIDERS, **EVERY_SECOND)
    progress.turn(f"{plan.ticks} ticks beside {rate:,.0f} messages/s")
    with ground(site, providers=PROVIDERS) as fresh:
        ticks, nulls, note = watched(site, fresh, rate, plan.ticks)
    plot.write("tick_lateness", QUESTION, {"tick": ticks, "null probe": nulls})
    return Result("tick_lateness", QUESTION, rows(ticks, nulls), [note])


def rows(ticks: Seconds, nulls: Seconds) -> list[Row]:
    """Return the table: the ticks with their targets, which depend on the probe, and the probe."""
    tick, null = row("tick in KeyDB", ticks), row("null probe", nulls)
    targets = {
        "target median": null["median ms"] + MEDIAN_ABOVE_MS,
        "target p99": P99_FACTOR * null["p99 ms"] + P99_ABOVE_MS,
    }
    return [tick | targets, null]


def watched(
    site: Site, fresh: Ground, rate: float, count: int, **syncers: str
) -> tuple[Seconds, Seconds, str]:
    """Return how late `count` ticks and null probes were beside `rate` messages/s, and a note.

    `syncers` are settings of the syncer.
    """
    messages = int(rate * (count + 30))
    with (
        load.ingesting(fresh, **EVERY_SECOND),
        programs.service("syncer", **syncers).running(fresh) as syncer,
        programs.service("ticker", **EVERY_SECOND).running(fresh) as ticker,
        programs.python_peer("null tick", "null_tick").running(fresh),
        load.publishing(fresh, messages, rate, PROVIDERS),
        site.keydb.client() as client,
    ):
        programs.said(syncer, "tick_published")
        reader = Reader(client)
        begin = int(time.time()) + WARM_UP_TICKS
        ticks, nulls = [], []
        for boundary in range(begin, begin + count):
            ticks.append(reader.tick(boundary))
            nulls.append(reader.null(boundary))
        programs.said(ticker, "tick_sent")
        return ticks, nulls, _load(fresh, begin, begin + count - 1)


def _load(fresh: Ground, after: int, last: int) -> str:
    with psycopg.connect(fresh.dsn) as conn:
        found = conn.execute(SELECT_TICKS, {"after": after, "last": last}).fetchall()
    counted, changed, late = (median(column) for column in zip(*found, strict=True))
    return (
        f"per tick, median: {counted:,.0f} transactions counted, {changed:,.0f} providers changed,"
        f" {late:,.0f} balances written at the boundary"
    )
