"""`python -m tests.faults --faults 1000 --seed 7`: random sequences of faults. See `make soak`."""

import functools
import random
import re
import sys
from collections.abc import Sequence

import click

from shared import program
from tests.faults import campaign, catalogue
from tests.faults.fault import title
from tests.faults.run import pairs
from tests.faults.sequence import EVERY_S
from tests.support import containers, stack

ABOUT = """\
Random sequences of faults on a whole stack under load: see `make soak`. Prints the seed first,
then a line for each fault. Exits with 1 if anything was found; then the sequence, the logs of every
container and the differences are in build/soak."""

say = functools.partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    return program.execute(command, "tests.faults", arguments)


@program.command(ABOUT)
@click.option(
    "--faults", "number", type=click.IntRange(1), default=100, show_default=True,
    help="How many faults strike.",
)  # fmt: skip
@click.option("--seed", type=int, help="Random and printed if not given.")
@click.option(
    "--every", type=float, default=EVERY_S, show_default=True, help="Seconds between two faults."
)
@click.option("--minutes", type=float, help="No new fault after this time.")
@click.option(
    "--only", default="", metavar="REGEX",
    help="Faults whose title matches, as in 'postgres: (pause|cut)'.",
)  # fmt: skip
def command(
    *, number: int, seed: int | None, every: float, minutes: float | None, only: str
) -> int:
    """Run once; return the exit code."""
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    say(f"SEED={seed}")
    random.seed(seed)
    client = containers.engine()
    stack.build(client)
    faults = [one for one in catalogue.many(number * 99, seed) if re.search(only, title(one))]
    result = campaign.run(
        client,
        faults[:number],
        seed,
        say=say,
        every_s=every,
        for_s=60 * minutes if minutes else None,
    )
    for name, count in sorted(pairs(result.strikes).items()):
        say(f"  {count:4} {name}")
    say(result.describe())
    return int(not result.right())


if __name__ == "__main__":
    sys.exit(main())
