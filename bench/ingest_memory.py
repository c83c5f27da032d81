"""How much memory ingest takes, whatever waits in the queue.

Measured: the most resident memory that the process ever had (VmHWM) after it has emptied a queue of
ordinary messages (five times `--messages`, so a million by default) and one of bodies of 10 MB that
are too large to be transactions (`--large-bodies`; the issue's figure is 500, which takes 10 GB of
disk: once in the broker and once as dead letters). One run each: a peak has little noise.

Not measured: memory of the broker and of Postgres.
"""

import os
import uuid
from collections.abc import Iterable, Iterator

from bench import programs
from bench.drain import Stored, drained, observer
from bench.ground import Message, Site, ground, ordinary, publish
from bench.result import Plan, Progress, Result, Row

QUESTION = "peak of resident memory"
ORDINARY_FACTOR = 5
LARGE_BYTES = 10_000_000
ORDINARY_MIB_MAX, LARGE_MIB_MAX = 120, 300


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Empty one queue of each kind."""
    count = ORDINARY_FACTOR * plan.messages
    progress.turn(f"{count:,} ordinary messages")
    rows = [_row(site, "ordinary", ordinary(count), count, ORDINARY_MIB_MAX)]
    progress.turn(f"{plan.large_bodies} bodies of 10 MB")
    large = _large(plan.large_bodies)
    rows.append(_row(site, "10 MB each", large, plan.large_bodies, LARGE_MIB_MAX))
    return Result("ingest_memory", QUESTION, rows)


def _row(site: Site, name: str, messages: Iterable[Message], count: int, target: int) -> Row:
    with ground(site) as fresh:
        publish(fresh, messages)
        with programs.ingest().running(fresh) as program, observer(fresh) as conn:
            drain = drained(fresh, count, [program], Stored(conn, count))
            peak = program.memory_peak_mib()
    return {
        "messages": name,
        "number": count,
        "peak MiB": peak,
        "target MiB": target,
        "messages/s": drain.per_s,
    }


def _large(count: int) -> Iterator[Message]:
    # Random, as neither Postgres nor a file system can make it smaller than it is.
    body = os.urandom(LARGE_BYTES)
    for _ in range(count):
        yield body, str(uuid.uuid4())
