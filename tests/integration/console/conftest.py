"""A console over a stepped syncer's two providers."""

from collections.abc import Iterator

import pytest

from services.syncer.service import Syncer
from tests.support import console_page, keydb_rights, servers
from tests.support.console_page import Console


@pytest.fixture
def settings(environment: dict[str, str], keydb_server: servers.Keydb) -> dict[str, str]:
    """Servers as an operator reaches them, one tick a minute."""
    ours = {"KEYDB_URL": keydb_server.url(keydb_rights.OPERATOR), "TICK_INTERVAL_SECONDS": "60"}
    return environment | ours


@pytest.fixture
def console(settings: dict[str, str], syncer: Syncer) -> Iterator[Console]:
    """A console that shows Visa with 1300 and Mastercard with 1800, at the first minute."""
    with console_page.running(settings) as console:
        yield console
