"""How soon after its arrival a message is a visible row.

Measured from outside, by one clock: a message's time runs from just before it is published to when
a reader first sees its row. One ingest commits in the order of arrival, so the number of visible
rows says which messages are stored; a reader counts them about every millisecond. That holds the
whole way: publisher, broker, receiving, commit, and up to a millisecond of the reader's. created_at
would be dishonest: it is when the transaction began, before the rows were written and flushed;
commit timestamps are taken before the flush.

Receive-to-commit itself only the service can see: from the arrival of a batch's oldest message to
the batch's commit, as the edge of the histogram's bucket that holds the quantile, an upper bound.

Beside it, at the same rate: a null consumer (published to received, nothing stored) and a bare
commit of one row in the same tables, from the reader's process. Receive-to-commit is the first
minus the second, as medians; at 10 messages/s it should be within 2 ms of the third.

Full speed is what ingest keeps up with *while a publisher runs beside it* on the same cores; 80 %
of that is the second rate. Not measured: networks, a machine of one's own for each part.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

import psycopg

from bench import load, programs
from bench.drain import observer
from bench.ground import Site, ground, publish
from bench.peers.broker import CONSUMING, SETTLED
from bench.result import Plan, Progress, Result, Row
from services.ingest import store

QUESTION = "milliseconds from publishing to a visible row"
SLOW_PER_S, SLOW_SECONDS = 10.0, 20
FAST_SHARE, FAST_SECONDS = 0.8, 15
READ_EVERY_S = 0.001
SETTLE_TIMEOUT_S = 120.0

COMMIT = """
INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
VALUES (17, 600, gen_random_uuid()::text)
"""

BEYOND = "SELECT id FROM historical_transactions WHERE id > %s ORDER BY id"

Latencies = list[float]


def measure(site: Site, _plan: Plan, progress: Progress) -> Result:
    """Measure at 10 messages/s, then at 80 % of what ingest keeps up with."""
    progress.turn("full speed beside a publisher")
    full = load.full_speed(site)
    rows = []
    for rate, seconds in ((SLOW_PER_S, SLOW_SECONDS), (FAST_SHARE * full, FAST_SECONDS)):
        count = int(rate * seconds)
        progress.turn(f"{rate:,.0f} messages/s: ingest")
        stored, inside = _stored(site, count, rate)
        rows.append(_row("ingest: published to visible", rate, stored))
        rows += [{"messages/s": rate, **row} for row in inside]
        progress.turn(f"{rate:,.0f} messages/s: null consumer")
        rows.append(_row("null: published to received", rate, _received(site, count, rate)))
        progress.turn(f"{rate:,.0f} messages/s: bare commit")
        rows.append(_row("bare commit of one row", rate, _committed(site, rate)))
    return Result("ingest_latency", QUESTION, rows, [f"full speed here: {full:,.0f} messages/s"])


def _stored(site: Site, count: int, rate: float) -> tuple[Latencies, list[Row]]:
    """Return the time of each message, and what the service itself knows."""
    with ground(site) as fresh, load.ingesting(fresh) as program, observer(fresh) as conn:
        seen: list[tuple[float, int]] = []
        with load.publishing(fresh, count, rate) as published:
            end = time.monotonic() + count / rate + SETTLE_TIMEOUT_S
            without_gap = 0
            while not seen or seen[-1][1] < count:
                beyond = [number for (number,) in conn.execute(BEYOND, [without_gap])]
                seen.append((time.time(), without_gap + len(beyond)))
                for number in beyond:
                    without_gap += number == without_gap + 1
                if time.monotonic() > end:
                    raise TimeoutError(f"{seen[-1][1]} of {count} messages are visible")
                time.sleep(READ_EVERY_S)
            latencies = _match(seen, published())
        return latencies, [
            _inside(program, "ingest: received to committed, at most", "latency"),
            _inside(program, "ingest: batch commit, at most", "commit"),
        ]


def _inside(program: programs.Program, what: str, name: str) -> Row:
    histogram = f"minutebook_ingest_{name}_seconds"
    return {
        "what": what,
        "samples": int(program.metric(f"{histogram}_count")),
        "median ms": program.below(histogram, 0.5) * 1000,
        "p99 ms": program.below(histogram, 0.99) * 1000,
        "most ms": program.below(histogram, 1.0) * 1000,
    }


def _match(seen: Sequence[tuple[float, int]], published: Sequence[float]) -> Latencies:
    """Return per message the time from its publishing to the first look that showed it."""
    latencies: Latencies = []
    for at, visible in seen:
        latencies += [at - sent for sent in published[len(latencies) : visible]]
    return latencies


def _received(site: Site, count: int, rate: float) -> Latencies:
    with (
        ground(site) as fresh,
        tempfile.NamedTemporaryFile() as record,
    ):
        publish(fresh, ())
        null = programs.python_peer("null consumer", "null_consumer")
        environment = {"BENCH_MESSAGES": str(count), "BENCH_RECEIVED": record.name}
        with null.running(fresh, **environment) as program:
            programs.said(program, CONSUMING)
            with load.publishing(fresh, count, rate) as published:
                programs.said(program, SETTLED, count / rate + SETTLE_TIMEOUT_S)
                received = [float(line) for line in Path(record.name).read_text().split()]
                return [at - sent for sent, at in zip(published(), received, strict=True)]


def _committed(site: Site, rate: float) -> Latencies:
    """Return how long single commits take at this rate, or one after the other if that is less."""
    latencies = []
    with (
        ground(site) as fresh,
        psycopg.connect(
            fresh.dsn, autocommit=True, prepare_threshold=0, options=store.OPTIONS
        ) as conn,
    ):
        for _ in range(int(SLOW_PER_S * SLOW_SECONDS)):
            begun = time.monotonic()
            conn.execute(COMMIT)
            latencies.append(time.monotonic() - begun)
            time.sleep(max(0.0, min(1 / rate, 0.1) - latencies[-1]))
    return latencies


def _row(name: str, rate: float, seconds: Latencies) -> Row:
    cuts = quantiles(seconds, n=100)
    return {
        "what": name,
        "messages/s": rate,
        "samples": len(seconds),
        "median ms": median(seconds) * 1000,
        "p99 ms": cuts[98] * 1000,
        "most ms": max(seconds) * 1000,
    }
