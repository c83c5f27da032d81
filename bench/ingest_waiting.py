"""How soon messages that waited for their provider are rows, and what others notice of it.

Measured: `--messages` / 2 (100,000 by default) messages for a provider that does not exist wait as
dead letters; then it appears, and the clock runs until all of them are visible rows. Beside it,
ordinary traffic at a steady rate, before and meanwhile: how long ingest took from receiving to
commit, by its own metric, and how many messages became rows. The waiting ones must become rows in
the order in which they came.
"""

import time
from collections.abc import Callable, Iterator

import psycopg

from bench import programs
from bench.drain import observer
from bench.ground import Message, Site, ground, publish
from bench.load import publishing
from bench.result import Plan, Progress, Result, Row

QUESTION = "seconds from the provider's appearance to the last row"
PROVIDER = 4711
PACE_PER_S = 1000.0
BEFORE_S = 5.0
TRAFFIC_S = 60
TIMEOUT_S = 300.0
TARGET_S = 10.0

WAITING = "SELECT count(*) FROM dead_letter WHERE state = 'waiting'"
ARRIVED = "SELECT count(*) FROM historical_transactions WHERE provider_id = 4711"
IN_ORDER = """
SELECT coalesce(bool_and(value > before), true)
  FROM (SELECT transaction_value AS value,
               lag(transaction_value, 1, -1::bigint) OVER (ORDER BY id) AS before
          FROM historical_transactions
         WHERE provider_id = 4711) AS found
"""

METRICS = (
    "minutebook_ingest_latency_seconds_sum",
    "minutebook_ingest_latency_seconds_count",
    "minutebook_ingest_rows_total",
)
"""Of the messages that come from the queue; those that waited are counted elsewhere."""


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Let them wait, let the provider appear."""
    count = plan.messages // 2
    with ground(site) as fresh:
        publish(fresh, _waiting(count))
        with programs.ingest().running(fresh) as program, observer(fresh) as conn:
            progress.turn(f"{count:,} messages come to wait")
            _until(conn, WAITING, count)
            with publishing(fresh, int(PACE_PER_S * TRAFFIC_S), PACE_PER_S):
                programs.wait_until(lambda: program.metric(METRICS[2]) > 0, TIMEOUT_S, "no traffic")
                progress.turn("ordinary traffic alone")
                before = _between(program, lambda: time.sleep(BEFORE_S))
                progress.turn("the provider appears")
                meanwhile = _between(program, lambda: _appear(conn, count))
            if conn.execute(IN_ORDER).fetchone() != (True,):
                raise AssertionError("the waiting messages became rows out of order")
    rows = [
        {"what": "ordinary traffic alone", "waiting": 0, **before},
        {"what": "the provider appears", "waiting": count, **meanwhile},
    ]
    return Result("ingest_waiting", QUESTION, rows, [f"target: {TARGET_S:g} s"])


def _waiting(count: int) -> Iterator[Message]:
    for number in range(count):
        yield b'{"id": %d, "value": %d}' % (PROVIDER, number), f"waiting-{number}"


def _appear(conn: psycopg.Connection, count: int) -> None:
    conn.execute(
        "INSERT INTO initial_data (id, provider_name, initial_value) VALUES (4711, 'Late', 0)"
    )
    _until(conn, ARRIVED, count)


def _until(conn: psycopg.Connection, query: str, count: int) -> None:
    def there() -> bool:
        return conn.execute(query.encode()).fetchone() == (count,)

    programs.wait_until(there, TIMEOUT_S, f"fewer than {count}", every_s=0.1)


def _between(program: programs.Program, work: Callable[[], object]) -> Row:
    """Do `work`; return how long it took and what became of ordinary messages meanwhile."""
    begun, before = time.monotonic(), [program.metric(name) for name in METRICS]
    work()
    latency, batches, rows = (
        program.metric(name) - then for name, then in zip(METRICS, before, strict=True)
    )
    seconds = time.monotonic() - begun
    return {
        "seconds": seconds,
        "ordinary rows/s": rows / seconds,
        "receive to commit, mean ms": latency / max(1.0, batches) * 1000,
    }
