"""`python -m tests.faults.ha`: every fault on the clusters of `deploy/ha`. See `make ha`."""

import functools
import random
import re
import sys
from collections.abc import Sequence

import click

from shared import program
from tests.faults.fault import title
from tests.faults.ha import rounds, strikes, upgrades
from tests.support import containers

ABOUT = """\
Faults on the clusters of deploy/ha under load, one after another, each healed before the next;
then the books must agree. Prints for how long nothing was stored and nothing shown at each fault.
Exits with 1 if anything was found; then (and with --logs) all logs are in build/soak."""
HEAD = "| fault | nothing stored, s | KeyDB late, s |\n|---|---|---|"

say = functools.partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    return program.execute(command, "tests.faults.ha", arguments)


@program.command(ABOUT)
@click.option("--seed", type=int, help="Random and printed if not given.")
@click.option(
    "--only", default="", metavar="REGEX",
    help="Faults whose title matches, as in 'postgres: leader (killed|frozen)'.",
)  # fmt: skip
@click.option("--logs", is_flag=True, help="Leave all logs in build/soak, whatever was found.")
@click.option("--list", "listing", is_flag=True, help="Print the titles of all faults, and end.")
def command(*, seed: int | None, only: str, logs: bool, listing: bool) -> int:
    """Run once; return the exit code."""
    known = [upgrades.TAKEN_OVER, *strikes.FAULTS, *upgrades.REPLACED]
    faults = [one for one in known if re.search(only, title(one))]
    if listing:
        say("\n".join(map(title, faults)))
        return 0
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    result, cost = rounds.run(containers.engine(), faults, seed, say=say, keep=logs)
    say("\n".join([HEAD, *(one.describe() for one in cost)]))
    say(result.describe())
    return int(not result.right())


if __name__ == "__main__":
    sys.exit(main())
