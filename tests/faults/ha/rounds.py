"""A run: clusters under load, one fault after another, each healed first; then the books."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import docker
import psycopg

from tests.faults import addresses, reader
from tests.faults.campaign import Campaign
from tests.faults.corrections import correcting, keys
from tests.faults.difference import Difference
from tests.faults.fault import Fault
from tests.faults.ha import cluster, upgrades
from tests.faults.ha.outages import Outage, outages
from tests.faults.load import producing_load
from tests.faults.logs import bugs
from tests.faults.reader import Seen
from tests.faults.run import Run, leave
from tests.faults.sequence import AROUND_S, Strike
from tests.faults.side_process import SideProcess, beside
from tests.support.stack import INTERVAL_S, Stack

PER_S = 100
BETWEEN_S = 3.0 * INTERVAL_S
"""Some ticks between two faults, so that each fault's pauses are its own."""
Say = Callable[[str], None]


def run(
    client: docker.DockerClient,
    faults: Sequence[Fault],
    seed: int,
    *,
    say: Say = print,
    keep: bool = False,
) -> tuple[Run, list[Outage]]:
    """Strike a stack of its own; returns what was found, and what each fault cost.

    With `keep` the sequence and all logs are left in build/soak also if nothing was found.
    """
    plain = faults[0] is upgrades.TAKEN_OVER
    with cluster.standing(client, plain=plain) as stack, ExitStack() as work:
        say(f"seed {seed}, {len(faults)} faults, stack {stack.project}")
        looking = work.enter_context(beside(stack, partial(reader.read, keys())))
        begun_at: list[float] = []
        result = Run([])
        with correcting(stack, seed) as corrections, producing_load(stack, seed, PER_S) as load:
            campaign = Campaign(stack, load, corrections, say)
            _pause()
            for strike in _struck(stack, faults, begun_at, result):
                say(
                    f"{strike.number:3}/{len(faults)} {strike.describe()} |"
                    f" {load.confirmed} confirmed"
                )
        result.differences += [
            *(Difference(line) for line in bugs(stack)),
            *campaign.settled(),
            *_seen(stack, looking, result),
        ]
        with psycopg.connect(addresses.postgres_dsn(stack, "probe"), autocommit=True) as conn:
            cost = outages(conn, result.strikes, begun_at)
        result.facts = [*result.facts, *campaign.facts()]
        result.per_s = load.per_s
        result.around = {one: _around(result, one) for one in result.differences}
        if keep or not result.right():
            leave(stack, seed, result)
        return result, cost


def _struck(
    stack: Stack, faults: Sequence[Fault], begun_at: list[float], result: Run
) -> Iterator[Strike]:
    for number, fault in enumerate(faults, 1):
        strike = Strike(number, fault, time.monotonic())
        result.strikes.append(strike)
        begun_at.append(time.time())
        try:
            strike.in_flight = fault.strike(stack).in_flight
            cluster.await_whole(stack)
        except Exception as error:  # noqa: BLE001 - the run goes on and says so at the end
            strike.error = f"{type(error).__name__}: {error}"
        strike.ended_s = time.monotonic()
        _pause()
        yield strike


def _pause() -> None:
    threading.Event().wait(BETWEEN_S)


def _seen(stack: Stack, looking: SideProcess[Seen], result: Run) -> list[Difference]:
    seen = looking.end()
    result.facts.append(seen.looks.describe())
    result.look_s = seen.looks.median_s()
    with psycopg.connect(addresses.postgres_dsn(stack, "probe"), autocommit=True) as conn:
        return [*seen.differences, *seen.mixed(conn)]


def _around(result: Run, difference: Difference) -> list[str]:
    return [
        strike.describe()
        for strike in result.strikes
        if difference.at_s is None
        or strike.begun_s - AROUND_S <= difference.at_s <= strike.ended_s + AROUND_S
    ]
