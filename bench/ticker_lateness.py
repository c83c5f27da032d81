"""How late the ticker publishes, beside a bare sleep.

Measured: our ticker as a process, ticks of one second. Its own word: from the boundary to the
broker's confirm. From outside: to when a consumer of the exchange, in a process of its own, has it.
Beside it, half a second after each boundary: a process that sleeps until then and looks at the
clock (`bench.peers.null_sleep`).

Not measured: networks.
"""

import contextlib
import json
import tempfile
import time
from pathlib import Path

import pika

from bench import programs
from bench.ground import Ground, Site, ground
from bench.reader import Seconds, row
from bench.result import Plan, Progress, Result
from shared import tick
from shared.amqp import ticks

QUESTION = "milliseconds from a boundary to its tick"
TICKS_MAX = 120
P99_FACTOR, P99_ABOVE_MS = 2.0, 3.0
TICK_S = 1


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Listen to some of `plan.ticks`."""
    count = min(plan.ticks, TICKS_MAX)
    progress.turn(f"{count} ticks")
    with ground(site) as fresh:
        said, heard, slept = _listened(fresh, count)
    null = row("bare sleep", slept)
    target = {"target p99": P99_FACTOR * null["p99 ms"] + P99_ABOVE_MS}
    rows = [
        row("ticker: confirmed by the broker", said) | target,
        row("ticker: with a consumer", heard) | target,
        null,
    ]
    return Result("ticker_lateness", QUESTION, rows)


def _listened(fresh: Ground, count: int) -> tuple[Seconds, Seconds, Seconds]:
    with (
        tempfile.NamedTemporaryFile() as record,
        programs.service("ticker", TICK_INTERVAL_SECONDS=str(TICK_S)).running(fresh) as ticker,
        programs.python_peer("null sleep", "null_sleep").running(fresh, BENCH_SLEPT=record.name),
    ):
        programs.said(ticker, "tick_sent")
        heard = _heard(fresh, count)
        slept = [float(line) for line in Path(record.name).read_text().split()]
        events = [json.loads(line) for line in ticker.log().splitlines()]
    said = [event["lateness_ms"] / 1000 for event in events if event["event"] == "tick_sent"]
    return said[-count:], heard, slept[-count:]


def _heard(fresh: Ground, count: int) -> Seconds:
    late: Seconds = []

    with contextlib.closing(
        pika.BlockingConnection(pika.URLParameters(fresh.amqp_url))
    ) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, ticks.EXCHANGE)
        channel.basic_consume(
            queue,
            lambda _channel, _method, _properties, body: late.append(
                time.time() - tick.decode(body).boundary.timestamp()
            ),
            auto_ack=True,
        )
        while len(late) < count:
            connection.process_data_events(time_limit=1)
    return late
