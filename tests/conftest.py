"""Markers by directory, and signals as a person's shell has them."""

import os
import signal
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
for _name in ("no_proxy", "NO_PROXY"):  # what tests ask is on this machine
    os.environ[_name] = ",".join(filter(None, (os.environ.get(_name), "127.0.0.1", "localhost")))

# A shell starts what it puts into the background with SIGINT ignored, which children inherit: tests
# that interrupt a program would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder: unit, integration, acceptance."""
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
