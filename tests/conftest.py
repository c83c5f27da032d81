"""Markers by directory."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder: unit, integration, acceptance."""
    for item in items:
        item.add_marker(item.path.relative_to(TESTS).parts[0])
