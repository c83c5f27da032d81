"""Plans of fold and publish: they look at what is fresh, whatever is kept and whatever is known."""

from collections.abc import Iterable, Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from pydantic import Secret

from services.syncer import publish_store, tick_store
from services.syncer.core import Accumulator
from shared import postgres
from shared.settings import PostgresSettings
from tests.support import servers
from tests.support.query_plans import Plan, explain, indexes, planned_once, scans, visited

PROVIDERS, CHANGED, TICKS, KEPT = 100_000, 100, 1_000, 150_000
FRESH, FEW = 300, 1_000
VISITED_MAX = 4 * FRESH
"""Rows that a scan may touch: some times what is fresh, far below what is kept."""

SIZES = {"providers": PROVIDERS, "changed": CHANGED, "ticks": TICKS, "kept": KEPT, "fresh": FRESH}
FILL: list[LiteralString] = [
    "INSERT INTO initial_data SELECT g, 'p', 1 FROM generate_series(1, %(providers)s) g",
    """
    INSERT INTO outbox (xid, provider_id, amount, operation)
    SELECT (3 + mod(g, 500))::text::xid8, mod(g, %(changed)s), 1, 'added'
      FROM generate_series(1, %(kept)s) g
    """,
    """
    INSERT INTO balance
    SELECT g, 0, g || '_p', true, 1
      FROM generate_series(1, %(providers)s) g
    """,
    """
    INSERT INTO balance
    SELECT p, t, p || '_p', false, 1
      FROM generate_series(1, %(ticks)s) t, generate_series(1, %(changed)s) p
    """,
    """
    INSERT INTO tick
    SELECT t, 'token-' || t, to_timestamp(t * 60), pg_current_snapshot(), system_identifier, 0, 0
      FROM generate_series(1, %(ticks)s) t, pg_control_system()
    """,
]
ADD_FRESH: LiteralString = """
INSERT INTO outbox (provider_id, amount, operation)
SELECT mod(g, %(changed)s), 1, 'added'
  FROM generate_series(1, %(fresh)s) g
"""
ANALYZE: LiteralString = "ANALYZE outbox, balance, tick, initial_data"


@pytest.fixture(scope="module", params=["never-analyzed", "analyzed-when-empty", "analyzed"])
def ours(
    request: pytest.FixtureRequest, postgres_server: servers.Postgres
) -> Iterator[psycopg.Connection]:
    """The syncer's own connection to a database that has kept much, of which little is fresh."""
    with postgres_server.database() as dsn:
        with psycopg.connect(dsn, autocommit=True) as conn:
            fill(conn, request.param)
        settings = PostgresSettings(postgres_dsn=Secret(dsn))
        with postgres.connection(settings, application="test", options=tick_store.OPTIONS) as conn:
            yield conn


def fill(conn: psycopg.Connection, statistics: str) -> None:
    conn.execute("SET session_replication_role = replica")  # no triggers
    tables = conn.execute(
        "SELECT relname FROM pg_class WHERE relkind = 'r'"
        " AND (relname ~ '^outbox_' OR relname IN ('balance', 'tick', 'initial_data'))"
    ).fetchall()
    for (name,) in tables:
        conn.execute(f"ALTER TABLE {name} SET (autovacuum_enabled = off)")
    conn.execute("DELETE FROM balance")
    if statistics == "analyzed-when-empty":
        conn.execute(ANALYZE)
    for statement in (*FILL, ADD_FRESH):
        conn.execute(statement, SIZES)
    if statistics == "analyzed":
        conn.execute(ANALYZE)


def assert_narrow(plan: Plan, *tables: str) -> None:
    """Fail unless each of the tables is looked at, by an index, and hardly beyond what is fresh."""
    for table in tables:
        found = scans(plan, table)
        assert found, f"no scan of {table}"
        for node in found:
            assert node["Node Type"] != "Seq Scan", f"{table} is read whole"
            assert visited(node) <= VISITED_MAX, f"{table}: {visited(node)} rows"


def last(conn: psycopg.Connection) -> str:
    """Return a snapshot after all that is kept and before what is fresh, one still in progress."""
    row = conn.execute("SELECT min(xid)::text FROM outbox WHERE xid > '503'").fetchone()
    assert row
    return f"400:{row[0]}:"


def a_tick(snapshot: str, changed: Iterable[int]) -> dict[str, Any]:
    """Return the parameters of a tick that holds one transaction of each of these providers."""
    memory = Accumulator("before", snapshot)
    memory.add(snapshot, [(one, 1) for one in changed], CHANGED)
    return tick_store.as_parameters(memory) | {
        "epoch": TICKS + 1,
        "token": "new",
        "boundary": "2026-01-01T00:00:00Z",
        "interim": False,
    }


def test_a_fold_reads_what_is_fresh(ours: psycopg.Connection) -> None:
    plan = explain(ours, tick_store.SELECT_FRESH, tick_store.fresh_after(last(ours)))
    assert_narrow(plan, "outbox", "tick")
    assert any("xid_idx" in name for name in indexes(plan))
    assert "tick_pkey" in indexes(plan)


def test_a_fold_whose_snapshot_has_transactions_in_progress_reads_theirs_and_what_is_fresh(
    ours: psycopg.Connection,
) -> None:
    xmax = last(ours).split(":")[1]
    plan = explain(ours, tick_store.SELECT_FRESH, tick_store.fresh_after(f"7:{xmax}:7"))
    assert_narrow(plan, "outbox", "tick")
    assert sum(visited(node) for node in scans(plan, "outbox")) == FRESH + KEPT / 500


def test_a_tick_reads_what_is_fresh_and_of_each_changed_provider_the_newest_balance(
    ours: psycopg.Connection,
) -> None:
    with planned_once(ours, tick_store.INSERT_TICK) as explained:
        plan = explained(a_tick(last(ours), range(1, CHANGED + 1)))
    assert_narrow(plan, "outbox", "balance", "initial_data")
    assert {"balance_pkey", "initial_data_pkey"} <= indexes(plan)


def test_a_tick_that_was_planned_for_few_providers_reads_no_more_of_many(
    postgres_server: servers.Postgres,
) -> None:
    with (
        postgres_server.database() as dsn,
        psycopg.connect(dsn, autocommit=True, options=tick_store.OPTIONS) as conn,
    ):
        add = "INSERT INTO initial_data SELECT g, 'p', 1 FROM generate_series(%s::int, %s::int) g"
        conn.execute(add, [1, FEW])
        conn.execute(ANALYZE)
        tick = a_tick(
            tick_store.newest_tick(conn).snapshot, range(1, PROVIDERS, PROVIDERS // CHANGED)
        )
        with planned_once(conn, tick_store.INSERT_TICK) as explained:
            explained(tick)
            conn.execute("SET session_replication_role = replica")  # no triggers
            conn.execute(add, [FEW + 1, PROVIDERS])
            plan = explained(tick)

    assert_narrow(plan, "initial_data")


def test_a_new_provider_beside_few_busy_ones_costs_no_look_at_their_history(
    postgres_server: servers.Postgres,
) -> None:
    busy, ticks = 70, 1000
    with (
        postgres_server.database() as dsn,
        psycopg.connect(dsn, autocommit=True, options=tick_store.OPTIONS) as conn,
    ):
        conn.execute("SET session_replication_role = replica")  # no triggers
        conn.execute(
            "INSERT INTO balance SELECT p, t, p || '_p', false, 1"
            " FROM generate_series(1, %s) t, generate_series(1, %s) p"
            " WHERE mod(hashint4(p * 1000 + t), 3) = 0 ORDER BY t, hashint4(p + t)",
            [ticks, busy],
        )
        conn.execute("VACUUM ANALYZE balance")
        tick = a_tick(tick_store.newest_tick(conn).snapshot, range(busy + 1, busy + CHANGED + 1))
        with planned_once(conn, tick_store.INSERT_TICK) as explained:
            plan = explained(tick)

    assert_narrow(plan, "balance")


def test_publishing_reads_what_changed_since_the_tick_that_is_shown(
    ours: psycopg.Connection,
) -> None:
    span = {"known": TICKS - 1, "target": TICKS}
    plan = explain(ours, publish_store.SELECT_CHANGED, span)
    assert_narrow(plan, "balance")
    assert "balance_epoch_idx" in indexes(plan)
    plan = explain(ours, publish_store.SELECT_OLD_KEYS, span)
    assert_narrow(plan, "balance")


def test_the_old_keys_of_renamed_providers_are_looked_up_one_by_one(
    ours: psycopg.Connection,
) -> None:
    with ours.transaction(force_rollback=True):
        ours.execute("UPDATE balance SET key_changed = true WHERE epoch = %s", [TICKS])
        span = {"known": TICKS - 1, "target": TICKS}
        plan = explain(ours, publish_store.SELECT_OLD_KEYS, span)
    assert_narrow(plan, "balance")
    assert {"balance_pkey", "balance_epoch_idx"} <= indexes(plan)


@pytest.mark.parametrize(
    ("query", "values"),
    [
        (tick_store.SELECT_NEWEST, {}),
        (publish_store.SELECT_OURS, {"epoch": TICKS, "token": f"token-{TICKS}"}),
        (publish_store.UPDATE_PUBLISHED, {"epoch": TICKS, "applied_at_s": 1.0}),
    ],
    ids=["newest", "noted", "note"],
)
def test_one_tick_is_found_by_its_number(
    ours: psycopg.Connection, query: LiteralString, values: dict[str, Any]
) -> None:
    plan = explain(ours, query, values)
    assert indexes(plan) == {"tick_pkey"}
    assert all(visited(node) <= 1 for node in scans(plan, "tick"))
