"""A console over a stepped syncer's two providers; one over two providers and dead letters."""

from collections.abc import Iterator

import psycopg
import pytest

from services.syncer.service import Syncer
from tests.support import (
    console_page,
    console_person,
    keydb_rights,
    messages,
    ops_tool,
    servers,
)
from tests.support.console_page import Console
from tests.support.console_person import Person
from tests.support.ops_tool import Tool


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


@pytest.fixture
def ops(dsn: str, conn: psycopg.Connection) -> Tool:
    """The tool beside a Postgres that knows two providers; the other servers are down."""
    messages.add_providers(conn)
    return ops_tool.deployment(dsn)


@pytest.fixture
def ada(ops: Tool) -> Iterator[Person]:
    """Somebody at a console that has no more rights than its own login gives it."""
    own = f"{ops.settings['POSTGRES_DSN']}?options=-c%20role%3Dminutebook_console"
    with console_person.signed_in(ops.settings | {"POSTGRES_DSN": own}) as person:
        yield person
