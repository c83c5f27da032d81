"""Postgres is asked by one connection from poll to poll, and counts no million at each."""

from collections.abc import Iterator

import psycopg
import pytest
from pydantic import Secret

from ops.console import postgres_probe
from ops.console.postgres_probe import PostgresProbe
from ops.deployment import DeploymentSettings
from services.syncer.service import Syncer
from tests.support.eventually import eventually
from tests.support.ops_tool import NOWHERE

PIDS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'minutebook-ops'"
OURS = f"{PIDS} AND datname = current_database()"


class Times:
    """A clock that a test puts forward."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Times:
    return Times()


@pytest.fixture
def probe(dsn: str, clock: Times) -> Iterator[PostgresProbe]:
    chosen = DeploymentSettings(
        postgres_dsn=Secret(dsn),
        rabbitmq_url=Secret(f"amqp://u:p@{NOWHERE}/%2F"),
        keydb_url=Secret(f"redis://{NOWHERE}/0"),
    )
    made = PostgresProbe(chosen, clock)
    yield made
    made.close()


def pids(conn: psycopg.Connection) -> list[int]:
    return [pid for (pid,) in conn.execute(OURS).fetchall()]


def test_looks_share_a_connection_which_is_replaced_in_time(
    probe: PostgresProbe, clock: Times, conn: psycopg.Connection, syncer: Syncer
) -> None:
    assert probe().providers == probe().providers == 2
    (first,) = pids(conn)
    clock.now = postgres_probe.LASTS_S + 1
    probe()

    eventually(lambda: first not in pids(conn))


def test_a_connection_that_was_lost_is_not_a_server_that_is_down(
    probe: PostgresProbe, conn: psycopg.Connection, syncer: Syncer
) -> None:
    probe()
    for pid in pids(conn):
        conn.execute("SELECT pg_terminate_backend(%s, 30000)", (pid,))

    assert probe().providers == 2


def test_of_many_providers_the_number_is_what_postgres_believes(
    probe: PostgresProbe,
    conn: psycopg.Connection,
    syncer: Syncer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(postgres_probe, "EXACT_MAX", 1)
    conn.execute("ANALYZE initial_data")

    assert probe().providers == 2
    conn.execute("INSERT INTO initial_data VALUES (8, 'a', 0), (9, 'b', 0)")
    assert probe().providers == 2
    conn.execute("ANALYZE initial_data")
    assert probe().providers == 4
