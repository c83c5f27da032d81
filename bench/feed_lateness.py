"""How late ticks are while the feed publishes what they counted, and while it does not run.

Measured as in `bench.tick_lateness`, in turns in one run, under the same load: ticks of a second,
1,000 providers that change in every tick, ingest at half of what it keeps up with here.

Not measured: a machine of its own for the feed. Here it takes its share of the same two cores.
"""

from bench import load, programs
from bench.feed_speed import bound
from bench.ground import Site, ground
from bench.reader import Seconds, row
from bench.result import Plan, Progress, Result
from bench.tick_lateness import EVERY_SECOND, LOAD_SHARE, PROVIDERS, watched

QUESTION = "milliseconds from a boundary to its watermark in KeyDB, with the feed and without"
TURNS = 4


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Watch `plan.ticks` ticks of each kind, in turns."""
    progress.turn("full speed of ingest")
    pace = LOAD_SHARE * load.full_speed(site, PROVIDERS, **EVERY_SECOND)
    seen: dict[bool, Seconds] = {False: [], True: []}
    nulls: dict[bool, Seconds] = {False: [], True: []}
    for turn in range(TURNS):
        for with_feed in (turn % 2 == 0, turn % 2 == 1):
            progress.turn(f"{turn + 1} of {TURNS}: {'with' if with_feed else 'without'} the feed")
            with ground(site, providers=PROVIDERS) as fresh, bound(fresh):
                if with_feed:
                    with programs.service("feed", **EVERY_SECOND).running(fresh):
                        ticks, probes, _ = watched(site, fresh, pace, plan.ticks // TURNS)
                else:
                    ticks, probes, _ = watched(site, fresh, pace, plan.ticks // TURNS)
            seen[with_feed] += ticks
            nulls[with_feed] += probes
    rows = [
        row(f"{what}, {'with' if fed else 'without'} the feed", found[fed])
        for what, found in (("tick in KeyDB", seen), ("null probe", nulls))
        for fed in (False, True)
    ]
    return Result("feed_lateness", QUESTION, rows, [f"beside {pace:,.0f} messages/s"])
