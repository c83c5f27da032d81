"""All faults there are, and the order in which a run has them."""

import contextlib
import random
from collections.abc import Iterator
from itertools import islice

from tests.faults import container_faults, kill_faults, network_faults, sleep_faults
from tests.faults.fault import Fault
from tests.support.stack import Stack

AIMED: list[Fault] = [*network_faults.FAULTS, *kill_faults.FAULTS, *sleep_faults.FAULTS]
"""Those that wait for a moment with work in hand, and fail if it does not come."""
FAULTS: list[Fault] = [*container_faults.FAULTS, *AIMED]


def once(seed: int) -> list[Fault]:
    """Return each fault once, in a random order."""
    return random.Random(seed).sample(FAULTS, len(FAULTS))


def many(count: int, seed: int) -> list[Fault]:
    """Return `count` faults: random orders of all, one after another, so that none is rare."""
    return list(islice(_for_ever(random.Random(seed)), count))


def _for_ever(chance: random.Random) -> Iterator[Fault]:
    while True:
        yield from chance.sample(FAULTS, len(FAULTS))


@contextlib.contextmanager
def prepared(stack: Stack) -> Iterator[None]:
    """Put around a stack, before it is up, what some faults need there."""
    with network_faults.prepare(stack), kill_faults.prepare(stack):
        yield
