"""`python -m bench.capacity`: what carries so many transactions a second, and where it ends.

A model, not a measurement. Costs for a message are those that docs/performance.md measured on two
slow cores; limits of one unit are measured or published, and docs/capacity.md says which. Pure but
for the command line.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import click
from rich.console import Console

from ops import tables
from ops.wording import count
from shared import program

ABOUT = (
    "Says what carries so many transactions a second: shards, cores, brokers, and the next limit."
)
RATES = (10_000, 100_000, 1_000_000)
DAY_S = 86_400
REPLICAS = 3
"""Members of a quorum queue."""


def given(default: float, meaning: str) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Return a parameter of the model."""
    return field(default=default, metadata={"meaning": meaning})


@dataclass(frozen=True, slots=True)
class Parameters:
    """What one message costs, and what one unit of each kind takes."""

    ingest_us: float = given(10.5, "CPU of ingest for a message, µs")
    postgres_us: float = given(21.5, "CPU of Postgres for a message, µs")
    publish_us: float = given(52.0, "CPU of the broker to take a message into a quorum queue, µs")
    deliver_us: float = given(14.7, "CPU of the broker to deliver one and hear of it, µs")
    follower_us: float = given(20.0, "CPU of each other member of a queue, µs (assumed)")
    tick_ms: float = given(10, "from the boundary to KeyDB for a tick of few providers, ms")
    key_us: float = given(2.3, "from the boundary to KeyDB for a changed provider, µs")
    script_us: float = given(1.1, "of KeyDB's one thread for a changed key, µs")
    wal_bytes: float = given(542, "WAL for a message, time-ordered identities")
    row_bytes: float = given(184, "table and indexes for a message, kept permanently")
    outbox_bytes: float = given(130, "outbox and indexes for a message, kept for a day (assumed)")
    ingest_per_s: float = given(30_000, "messages/s that one ingest stores")
    queue_per_s: float = given(25_000, "messages/s through one quorum queue, in and out")
    primary_per_s: float = given(92_000, "rows/s into one Postgres primary")
    wal_mb_per_s: float = given(200, "MB/s of WAL that one primary's disk and replicas take")
    postgres_cores: float = given(16, "cores of one Postgres primary")
    broker_cores: float = given(16, "cores of one broker node")
    use: float = given(0.6, "part of each limit that is used on an ordinary day")
    providers: float = given(100_000, "providers that change in a tick, in all shards")
    lateness_s: float = given(1.0, "seconds after the boundary in which KeyDB must show a tick")


@dataclass(frozen=True, slots=True)
class Plan:
    """What carries a rate. Cores are busy ones: machines need them divided by `use`."""

    rate: float
    shards: int
    decided_by: str
    """Which limit of a shard asks for so many."""
    ingests: int
    """Replicas, in all shards."""
    ingest_cores: float
    postgres_cores: float
    broker_cores: float
    brokers: int
    """Nodes, in one cluster or several."""
    wal_mb_per_s: float
    """Of one shard."""
    tb_per_day: float
    """Of rows that are kept permanently, in all shards."""
    tick_s: float
    """From the boundary to KeyDB, of the slowest shard."""
    keydb_s: float
    """Of KeyDB's one thread for the ticks of all shards."""
    catch_up_s: float
    """After a minute without Postgres."""
    ends: str
    """What the next limit is."""


def shard_limits(given: Parameters) -> dict[str, float]:
    """Return what one shard carries by each of its limits, in messages a second."""
    return {
        "one quorum queue": given.queue_per_s * given.use,
        "one primary's rows": given.primary_per_s * given.use,
        "one primary's cores": given.postgres_cores * given.use / given.postgres_us * 1e6,
        "one primary's WAL": given.wal_mb_per_s * given.use * 1e6 / given.wal_bytes,
    }


def plan(rate: float, given: Parameters = Parameters()) -> Plan:
    """Return what carries `rate` transactions a second."""
    limits = shard_limits(given)
    decided_by = min(limits, key=lambda one: limits[one])
    shards = max(1, math.ceil(rate / limits[decided_by]))
    of_each = rate / shards
    broker_us = given.publish_us + given.deliver_us + (REPLICAS - 1) * given.follower_us
    broker_cores = rate * broker_us / 1e6
    nodes = math.ceil(broker_cores / given.broker_cores / given.use)
    changed = min(given.providers, rate * 60)
    most = min(given.queue_per_s, given.primary_per_s)
    made = Plan(
        rate,
        shards,
        decided_by if shards > 1 else "",
        shards * max(1, math.ceil(of_each / given.ingest_per_s / given.use)),
        rate * given.ingest_us / 1e6,
        rate * given.postgres_us / 1e6,
        broker_cores,
        max(REPLICAS, nodes),
        of_each * given.wal_bytes / 1e6,
        rate * DAY_S * given.row_bytes / 1e12,
        given.tick_ms / 1e3 + changed / shards * given.key_us / 1e6,
        changed * given.script_us / 1e6,
        catch_up_s(of_each, most, outage_s=60),
        "",
    )
    return _with_end(made, limits, given)


def catch_up_s(rate: float, most: float, *, outage_s: float) -> float:
    """Return how long after an outage the queue is empty again: simulated second by second.

    What came meanwhile waits in the queue; then what comes is stored, and of what waits as much as
    is left of `most`. Infinite where nothing is left.
    """
    if most <= rate:
        return math.inf
    waiting, seconds = rate * outage_s, 0
    while waiting > 0:
        waiting += rate - most
        seconds += 1
    return float(seconds)


def _with_end(made: Plan, limits: dict[str, float], given: Parameters) -> Plan:
    """Add which limit comes next: as a rate, by what is common to all shards or by the shards."""
    by_shards = made.shards * min(limits.values())
    ends = {f"{count(made.shards, 'shard')} full": by_shards}
    if made.keydb_s > given.lateness_s * given.use:  # whatever the rate: providers decide
        ends["KeyDB's one thread at the boundary"] = made.rate
    ends[f"{count(made.brokers, 'broker node')} full"] = (
        made.brokers * given.broker_cores * given.use / made.broker_cores * made.rate
    )
    first = min(ends, key=lambda one: ends[one])
    told = f"{first}, at {ends[first]:,.0f}/s"
    return Plan(**{one.name: getattr(made, one.name) for one in fields(made)} | {"ends": told})


COLUMNS: Sequence[tuple[str, Callable[[Plan], str]]] = (
    ("transactions/s", lambda one: f"{one.rate:,.0f}"),
    ("shards", lambda one: f"{one.shards:,}"),
    ("because of", lambda one: one.decided_by or "one is enough"),
    ("ingests", lambda one: f"{one.ingests:,}"),
    ("busy cores: ingest", lambda one: f"{one.ingest_cores:,.1f}"),
    ("Postgres", lambda one: f"{one.postgres_cores:,.1f}"),
    ("brokers", lambda one: f"{one.broker_cores:,.1f}"),
    ("broker nodes", lambda one: f"{one.brokers:,}"),
    ("WAL MB/s a shard", lambda one: f"{one.wal_mb_per_s:,.1f}"),
    ("TB a day", lambda one: f"{one.tb_per_day:,.2f}"),
    ("tick s", lambda one: f"{one.tick_s:,.3f}"),
    ("KeyDB s a tick", lambda one: f"{one.keydb_s:,.3f}"),
    ("catching up s", lambda one: f"{one.catch_up_s:,.0f}"),
    ("ends with", lambda one: one.ends),
)


def cells(plans: Sequence[Plan]) -> list[list[str]]:
    """Return the table: a row for each quantity, a column for each rate."""
    return [[name, *(shown(one) for one in plans)] for name, shown in COLUMNS]


def markdown(plans: Sequence[Plan]) -> str:
    """Return the table as docs/capacity.md has it."""
    head, *rest = [f"| {' | '.join(row)} |\n" for row in cells(plans)]
    return "".join([head, f"|{'---|' * (len(plans) + 1)}\n", *rest])


def _options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command an option for each parameter."""
    for one in reversed(fields(Parameters)):
        name, meaning = f"--{one.name.replace('_', '-')}", str(one.metadata["meaning"])
        kind = click.FloatRange(min=0, min_open=True)
        option = click.option(name, type=kind, default=one.default, show_default=True, help=meaning)
        command = option(command)
    return command


@program.command(ABOUT)
@click.option(
    "--rate", "rates", type=click.FloatRange(min=1), multiple=True, default=RATES,
    show_default=True, help="Transactions a second; several times for several columns.",
)  # fmt: skip
@_options
def command(*, rates: Sequence[float], **chosen: float) -> int:
    """Print the table; return the exit code."""
    parameters = Parameters(**chosen)
    head, *rest = cells([plan(rate, parameters) for rate in rates])
    table = tables.table(*head, numbers=())
    for row in rest:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(program.execute(command, "bench.capacity"))
