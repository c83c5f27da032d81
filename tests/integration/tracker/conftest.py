"""A tracker beside a test that is everybody else: it sends, it ingests, it ticks."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.support import messages
from tests.support.tracking import Life, Sender, sending, tracker_life


@pytest.fixture
def sender(conn: psycopg.Connection, dsn: str, amqp_url: str) -> Iterator[Sender]:
    """Who sends requests; the providers of the worked example are there."""
    messages.add_providers(conn)
    with sending(dsn, amqp_url) as sender:
        yield sender


@pytest.fixture
def life(dsn: str, amqp_url: str, sender: Sender) -> Iterator[Life]:
    """A tracker that stands at the newest tick."""
    with tracker_life(dsn, amqp_url) as life:
        life.run()
        yield life
