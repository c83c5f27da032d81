"""The tool, for the commands that need Postgres alone."""

import psycopg
import pytest

from tests.support import messages, ops_tool
from tests.support.ops_tool import Tool


@pytest.fixture
def ops(dsn: str, conn: psycopg.Connection) -> Tool:
    """The tool beside a Postgres that knows two providers; the other servers are down."""
    messages.add_providers(conn)
    return ops_tool.deployment(dsn)
