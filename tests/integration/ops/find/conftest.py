"""The tool beside a ledger whose ticks the test writes."""

from collections.abc import Iterator

import psycopg
import pytest
import redis

from services.syncer.service import Syncer
from tests.support import ledger, messages, ops_tool, servers
from tests.support.ops_tool import Tool


@pytest.fixture
def syncer(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> Iterator[Syncer]:
    """A syncer over two providers, before its first tick."""
    messages.add_providers(conn)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        yield syncer


@pytest.fixture
def ops(dsn: str, amqp_url: str, syncer: Syncer) -> Tool:
    """The tool beside Postgres and a broker."""
    return ops_tool.deployment(dsn, amqp_url)
