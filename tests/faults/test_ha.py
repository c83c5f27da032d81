"""The clusters of `deploy/ha` under load: the leader of each is killed once, and the books agree.

All other ways in which members fail, and for how long nothing is stored then: `make ha`.
"""

import gc
import random
from collections.abc import Iterator

import pytest

from tests.faults.ha import rounds, strikes
from tests.faults.run import Run
from tests.support import containers

pytestmark = [
    pytest.mark.timeout(1500),
    # As in test_faults.py: pika leaves sockets to be collected whenever it cannot connect.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def run() -> Iterator[Run]:
    """One run."""
    seed = random.randrange(1_000_000)
    result, _ = rounds.run(containers.engine(), [strikes.EACH_KILLED], seed)
    yield result
    gc.collect()  # while the filter above is in force


def test_the_leader_of_each_cluster_is_killed_and_nothing_is_lost_doubled_or_taken_back(
    run: Run,
) -> None:
    assert run.right(), run.describe()
