"""This checkout beside another one, on the same servers in the same run, in turns.

Each has its own database, made by its own migrations, and its own services; both run on this
checkout's packages. A change is assessed by these ratios: figures of two runs do not compare.
"""

from pathlib import Path

from bench import load, programs
from bench.drain import Drain, drain_with
from bench.ground import ROOT, Site, ground, ordinary, publish
from bench.ingest_speed import compare
from bench.reader import Seconds, row
from bench.result import Plan, Progress, Result
from bench.tick_lateness import CHANGING, EVERY_SECOND, LOAD_SHARE, PROVIDERS, watched

OURS, THEIRS = "this checkout", "the other one"


def ingest(site: Site, plan: Plan, progress: Progress) -> Result:
    """Let each checkout's ingest empty a queue `plan.runs` times."""
    drains: dict[str, list[Drain]] = {OURS: [], THEIRS: []}
    for run in range(plan.runs):
        for name, checkout in _in_turn(plan, run):
            progress.turn(f"run {run + 1} of {plan.runs}: {name}")
            with ground(site, checkout=checkout) as fresh:
                publish(fresh, ordinary(plan.messages))
                drains[name].append(drain_with(programs.ingest(), fresh, plan.messages))
    question = "messages per second of one ingest, in turns"
    return Result("ingest_against", question, compare(drains, OURS, {THEIRS: 0.9}))


def tick(site: Site, plan: Plan, progress: Progress) -> Result:
    """Watch ticks of each checkout under the same load, in `plan.runs` turns."""
    progress.turn("full speed of ingest")
    rate = LOAD_SHARE * load.full_speed(site, PROVIDERS, **EVERY_SECOND)
    late: dict[str, Seconds] = {OURS: [], THEIRS: [], "null probe": []}
    for run in range(plan.runs):
        for name, checkout in _in_turn(plan, run):
            progress.turn(f"run {run + 1} of {plan.runs}: {name}")
            with ground(site, providers=PROVIDERS, checkout=checkout) as fresh:
                ticks, nulls, _ = watched(site, fresh, rate, max(1, plan.ticks // plan.runs))
            late[name] += ticks
            late["null probe"] += nulls
    question = "milliseconds from a boundary to its watermark in KeyDB, in turns"
    note = f"beside {rate:,.0f} messages/s that change {CHANGING:,} providers a second"
    return Result("tick_against", question, [row(*one) for one in late.items()], [note])


def _in_turn(plan: Plan, run: int) -> list[tuple[str, Path]]:
    if plan.against is None:
        raise LookupError("no other checkout was named")
    pair = [(OURS, ROOT), (THEIRS, plan.against.resolve())]
    return pair if run % 2 == 0 else pair[::-1]
