"""What tests of ingest begin with."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.support import messages


@pytest.fixture
def providers(conn: psycopg.Connection) -> None:
    """Providers 1 Visa and 2 Mastercard."""
    messages.add_providers(conn)


@pytest.fixture
def ours(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection as ingest has it."""
    with messages.ingest_connection(dsn) as conn:
        yield conn
