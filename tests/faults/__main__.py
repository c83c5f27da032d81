"""`python -m tests.faults --faults 1000 --seed 7`: random sequences of faults. See `make soak`.

Prints the seed first, then a line for each fault. Exits with 1 if anything was found; then the
sequence, the logs of every container and the differences are in build/soak.
"""

import argparse
import functools
import random
import re
import sys
from collections.abc import Sequence

from tests.faults import campaign, catalogue
from tests.faults.fault import title
from tests.faults.sequence import EVERY_S
from tests.support import containers
from tests.support.stack import Stack

say = functools.partial(print, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run once; returns the exit code."""
    asked = _parse(arguments)
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1_000_000)
    say(f"SEED={seed}")
    random.seed(seed)
    client = containers.engine()
    Stack(client).compose("build", "migrate")
    faults = [
        one for one in catalogue.many(asked.faults * 99, seed) if re.search(asked.only, title(one))
    ]
    result = campaign.run(
        client,
        faults[: asked.faults],
        seed,
        say=say,
        every_s=asked.every,
        for_s=60 * asked.minutes if asked.minutes else None,
    )
    for name, count in sorted(campaign.pairs(result.strikes).items()):
        say(f"  {count:4} {name}")
    say(result.words())
    return int(not result.right())


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", type=int, default=100, help="how many faults strike")
    parser.add_argument("--seed", type=int, help="random and printed if not given")
    parser.add_argument("--every", type=float, default=EVERY_S, help="seconds between two faults")
    parser.add_argument("--minutes", type=float, help="no new fault after this time")
    parser.add_argument(
        "--only", default="", help="faults whose title matches, as in 'postgres: (pause|cut)'"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
