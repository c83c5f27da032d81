"""Markers by directory, what runs beside what, and signals as a person's shell has them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

TESTS = Path(__file__).parent
SHARING = "acceptance"
"""The folder, without those below it, whose tests share stacks: one worker has all of it."""
LONGEST_FIRST = (
    "faults/test_faults.py",
    "faults/test_ha.py",
    SHARING,
    "integration/ingest/test_load.py",
    "integration/syncer/test_model_based.py",
    "faults/test_aim.py",
    "faults",
    "acceptance/fresh",
    "integration/ingest/test_outage_broker.py",
    "integration/syncer/test_loss_postgres.py",
    "integration/shards/test_under_faults.py",
    "integration/ops/test_send_outage.py",
    "integration/syncer/test_tick_preparation.py",
    "integration/syncer/test_publish_readers.py",
    "integration/deploy/test_alerts.py",
)
"""Files and folders that take about a minute; so that no worker is left with one at the end."""
FOLDERS = ("acceptance", "faults", "integration", "unit")

# A machine that others share is slow now and then, which says nothing of the code.
settings.register_profile("minutebook", deadline=None)
settings.load_profile("minutebook")

for _name in ("no_proxy", "NO_PROXY"):  # what tests ask is on this machine
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1", "localhost")))

# A shell starts what it puts into the background with SIGINT ignored, which children inherit: tests
# that interrupt a program would wait without end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """A worker of pytest-xdist runs a whole file, or the whole folder whose tests share stacks."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        folder = file.rpartition("/")[0]
        return folder if folder == f"{TESTS.name}/{SHARING}" else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Have `pytest -n` share tests out by files."""
    return ByFile(config, log)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark each test with its folder, and begin with what takes longest."""
    for item in items:
        item.add_marker(_folder(item))
    yield
    items.sort(key=_turn)


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


def _turn(item: pytest.Item) -> int:
    path = item.path.relative_to(TESTS)
    for place in (path.as_posix(), path.parent.as_posix()):
        if place in LONGEST_FIRST:
            return LONGEST_FIRST.index(place)
    return len(LONGEST_FIRST) + FOLDERS.index(_folder(item))
