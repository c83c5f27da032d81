"""How late ticks are while the feed publishes what they counted, and while it does not run.

Measured as in `bench.tick_lateness`, in turns in one run, under the same load: ticks of a second,
1,000 providers that change in every tick, ingest at half and at a quarter of what it keeps up with
here. At half the events of all messages take what the messages leave of two cores; at a quarter
there are processors to spare, as there are where each service has its own.

Not measured: a machine of its own for the feed. Here it takes its share of the same two cores.
"""

from bench import load, programs
from bench.feed_speed import bound
from bench.ground import Site, ground
from bench.reader import Seconds, row
from bench.result import Plan, Progress, Result, Row
from bench.tick_lateness import EVERY_SECOND, PROVIDERS, watched

QUESTION = "milliseconds from a boundary to its watermark in KeyDB, with the feed and without"
TURNS = 4
SHARES = (0.25, 0.5)


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Watch `plan.ticks` ticks of each kind under each load."""
    progress.turn("full speed of ingest")
    full = load.full_speed(site, PROVIDERS, **EVERY_SECOND)
    rows = [row for share in SHARES for row in _beside(site, plan, progress, share * full)]
    return Result("feed_lateness", QUESTION, rows, [f"ingest alone keeps up with {full:,.0f}/s"])


def _beside(site: Site, plan: Plan, progress: Progress, rate: float) -> list[Row]:
    """Return how late ticks were beside `rate` messages/s, with and without the feed in turns."""
    seen: dict[bool, Seconds] = {False: [], True: []}
    nulls: dict[bool, Seconds] = {False: [], True: []}
    for turn in range(TURNS):
        for with_feed in (turn % 2 == 0, turn % 2 == 1):
            which = "with" if with_feed else "without"
            progress.turn(f"{turn + 1} of {TURNS}, {rate:,.0f} messages/s: {which} the feed")
            with ground(site, providers=PROVIDERS) as fresh, bound(fresh):
                if with_feed:
                    with programs.service("feed", **EVERY_SECOND).running(fresh):
                        ticks, probes, _ = watched(site, fresh, rate, plan.ticks // TURNS)
                else:
                    ticks, probes, _ = watched(site, fresh, rate, plan.ticks // TURNS)
            seen[with_feed] += ticks
            nulls[with_feed] += probes
    return [
        row(f"{what}, {rate:,.0f}/s, {'with' if fed else 'without'} the feed", found[fed])
        for what, found in (("tick in KeyDB", seen), ("null probe", nulls))
        for fed in (False, True)
    ]
