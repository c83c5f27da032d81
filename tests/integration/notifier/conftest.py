"""A notifier beside a syncer that has no KeyDB: ticks are written by hand, one after the other."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.support import ledger
from tests.support.notifying import Life, Listener, listening, notifier_life


@pytest.fixture
def providers(conn: psycopg.Connection) -> tuple[int, int]:
    """Visa with 1000 and Mastercard with 2000, counted by a tick."""
    both = ledger.add_provider(conn, "Visa", 1000), ledger.add_provider(conn, "Mastercard", 2000)
    ledger.count_all(conn)
    return both


@pytest.fixture
def listener(amqp_url: str) -> Iterator[Listener]:
    """A consumer of all notifications."""
    with listening(amqp_url) as listener:
        yield listener


@pytest.fixture
def life(dsn: str, amqp_url: str, providers: tuple[int, int], listener: Listener) -> Iterator[Life]:
    """A notifier that stands at the newest tick."""
    with notifier_life(dsn, amqp_url) as life:
        life.run()
        yield life
