"""Fold and publish in interleavings and faults that hypothesis makes up, against plain books.

The short run makes up the same interleavings each time. The long one is another each time, and
says its seed: SEED=n looks at the same ones again, HYPOTHESIS_EXAMPLES=n says how many there are.
Both tell how it went wrong as the steps to take; the long one looks for fewer of them first.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support import servers
from tests.support.interleaving_machine import Machine
from tests.support.reference_ledger import Provider, Row
from tests.support.stepped_system import stepped_system

COMMON = settings(
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    print_blob=False,
    report_multiple_bugs=False,
)
SHORT = settings(
    COMMON,
    max_examples=30,
    stateful_step_count=40,
    derandomize=True,
    phases=(Phase.generate,),
)
LONG = settings(
    COMMON,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "1000")),
    stateful_step_count=80,
    phases=(Phase.generate, Phase.shrink),
)
MINUTES, HOURS = 60, 3600


def machine(postgres: servers.Postgres, keydb: servers.Keydb) -> type[Machine]:
    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(postgres, keydb)

    return Here


@pytest.mark.timeout(15 * MINUTES)
def test_no_interleaving_of_writers_ticks_and_faults_shows_a_wrong_balance(
    postgres_server: servers.Postgres, keydb_server: servers.Keydb
) -> None:
    run_state_machine_as_test(machine(postgres_server, keydb_server), settings=SHORT)


def test_a_provider_whose_row_was_moved_away_is_free_only_once_that_is_committed(
    postgres_server: servers.Postgres, keydb_server: servers.Keydb
) -> None:
    with stepped_system(postgres_server, keydb_server) as there:
        for name in "ab":
            there.put_provider(0, Provider(name, 0))
        there.commit(0)
        left, kept = there.free(0, "providers")
        there.put_row(0, Row(left, 5))
        there.put_row(0, Row(kept, 5), there.free(0, "rows")[0])
        assert there.unused(1) == []  # Postgres would make the other one wait without end
        there.commit(0)
        assert there.unused(1) == [left]
        there.delete_provider(1, left)


@pytest.mark.soak
@pytest.mark.timeout(8 * HOURS)
def test_nor_does_any_of_many_more(
    postgres_server: servers.Postgres,
    keydb_server: servers.Keydb,
    pytestconfig: pytest.Config,
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = int(os.environ.get("SEED") or random.randrange(2**32))
    with capsys.disabled():
        pytestconfig.get_terminal_writer().line(f"\nrandom interleavings: SEED={number}")
    chosen = seed(number)(machine(postgres_server, keydb_server))
    run_state_machine_as_test(chosen, settings=LONG)
