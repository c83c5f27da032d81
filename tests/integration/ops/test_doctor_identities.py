"""`ops doctor` says when the index of identities has outgrown the buffers, and only then."""

import uuid
from collections.abc import Iterator
from typing import LiteralString

import docker
import psycopg
import pytest

from ops.doctor import identity_checks
from ops.doctor.core import Check
from ops.doctor.identity_checks import LOOKUPS_MIN
from shared.unique_ids import time_ordered
from tests.support import messages, servers
from tests.support.eventually import eventually

MESSAGES, BATCH = 40_000, 2_000
STORE: LiteralString = (
    "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
    " SELECT 1, 5, unnest(%s::text[]) ON CONFLICT DO NOTHING"
)
COUNT: LiteralString = (
    "SELECT idx_blks_hit + idx_blks_read FROM pg_statio_user_indexes"
    " WHERE indexrelname = 'historical_transactions_message_id_key'"
)


@pytest.fixture(scope="module")
def tight(engine: docker.DockerClient) -> Iterator[servers.Postgres]:
    """A Postgres with buffers that hold a few thousand identities."""
    with servers.postgres(engine, in_memory=True, options_more="-c shared_buffers=1MB") as server:
        yield server


def store(conn: psycopg.Connection, identities: list[str]) -> Check:
    """Store messages of these identities as ingest does; return what doctor says once counted."""
    messages.add_providers(conn)
    for first in range(0, len(identities), BATCH):
        conn.execute(STORE, [identities[first : first + BATCH]])
    least = LOOKUPS_MIN if len(identities) == MESSAGES else 1
    eventually(lambda: (conn.execute(COUNT).fetchone() or (0,))[0] >= least)
    return identity_checks.inspect(conn)


@pytest.mark.parametrize("kind", ["random", "time-ordered", "few"])
def test_an_index_that_no_longer_fits_is_said_where_identities_are_random(
    tight: servers.Postgres, kind: str
) -> None:
    makers = {"random": uuid.uuid4, "time-ordered": time_ordered, "few": uuid.uuid4}
    number = 500 if kind == "few" else MESSAGES
    with tight.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        found = store(conn, [str(makers[kind]()) for _ in range(number)])

    assert found.verdict == ("warn" if kind == "random" else "ok"), found.found
    assert "shared_buffers 1 MB" in found.found
    assert ("shared_buffers" in found.advice) == (kind == "random")


def test_an_index_of_another_name_is_found_and_none_is_another_checks_matter(
    conn: psycopg.Connection,
) -> None:
    conn.execute(
        "ALTER TABLE historical_transactions"
        " RENAME CONSTRAINT historical_transactions_message_id_key TO theirs"
    )
    assert identity_checks.inspect(conn).verdict == "ok"
    assert "0 MB" in identity_checks.inspect(conn).found
    conn.execute("ALTER TABLE historical_transactions DROP CONSTRAINT theirs")
    assert identity_checks.inspect(conn).found == "none"
