"""Plans of judging: they look at what changed, whatever is kept and whatever is known of it."""

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from pydantic import Secret

from services.notifier import judge_store, store
from shared import postgres
from shared.settings import PostgresSettings
from tests.support import servers
from tests.support.query_plans import explain, keep_much, scans, visited

PROVIDERS, TICKS, CHANGED = 1000, 100, 20
VISITED_MAX = 10 * CHANGED
"""Rows that a scan may touch: some times what changed, far below what is kept."""
SIZES = {"providers": PROVIDERS, "ticks": TICKS, "changed": CHANGED}
FILL: list[LiteralString] = [
    "DELETE FROM tick",
    """
    INSERT INTO tick
    SELECT t, 'token-' || t, to_timestamp(t * 60), pg_current_snapshot(), system_identifier, 0, 0
      FROM generate_series(0, %(ticks)s) t, pg_control_system()
    """,
    """
    INSERT INTO balance
    SELECT p, t, p || '_p', false, mod(p * t, 100)
      FROM generate_series(0, %(ticks)s - 1) t, generate_series(1, %(providers)s) p
     WHERE t < 50 OR mod(p + t, 50) = 0
    """,
    """
    INSERT INTO balance
    SELECT p, %(ticks)s, p || '_p', false, 1000
      FROM generate_series(1, %(changed)s) p
    """,
    """
    INSERT INTO alert (provider_id, condition, threshold, for_seconds, source, source_id,
                       since_epoch)
    SELECT CASE WHEN mod(a, 20) > 0 THEN a END, condition,
           CASE WHEN condition <> 'silent' THEN a END,
           CASE WHEN condition = 'silent' THEN 600 * (1 + mod(a, 3)) END, 'test', condition || a, 0
      FROM generate_series(1, 400) a,
           unnest(ARRAY['below', 'above', 'change', 'silent']) AS condition
    """,
    """
    INSERT INTO notification (id, alert_id, provider_id, epoch, condition, balance, created_at,
                              sent_at, error)
    SELECT n, 1, 1, 1, 'below', 0, now() - interval '1 minute' * n,
           CASE WHEN n > 40 THEN now() END,
           CASE WHEN n <= 20 THEN 'unroutable' END
      FROM generate_series(1, 20000) n
    """,
]
TICK = {
    "before": TICKS - 1,
    "epoch": TICKS,
    "token": "t",
    "boundary": "1970-01-01T01:40:00Z",
    "snapshot": f"{10**12}:{10**12}:",  # it sees all that there is
}


@pytest.fixture(scope="module", params=["never-analyzed", "analyzed"])
def ours(
    request: pytest.FixtureRequest, postgres_server: servers.Postgres
) -> Iterator[psycopg.Connection]:
    """The notifier's own connection to a database that has kept much."""
    with postgres_server.database() as dsn:
        tables = ("balance", "tick", "alert", "notification")
        keep_much(dsn, tables, FILL, SIZES, analyzed=request.param == "analyzed")
        settings = PostgresSettings(postgres_dsn=Secret(dsn))
        options = judge_store.OPTIONS
        with postgres.connection(settings, application="test", options=options) as conn:
            yield conn


@pytest.mark.parametrize(
    "query", [judge_store.INSERT_CROSSINGS, judge_store.INSERT_SILENCES], ids=["edges", "silent"]
)
def test_judging_reads_what_changed_and_of_each_of_those_the_balance_before(
    ours: psycopg.Connection, query: LiteralString
) -> None:
    found = scans(explain(ours, query, TICK), "balance")

    assert found
    for node in found:
        assert node["Node Type"] != "Seq Scan", "history is read whole"
        assert visited(node) <= VISITED_MAX + 400, f"{visited(node)} rows"


@pytest.mark.parametrize(
    ("query", "given"),
    [
        (store.SELECT_NEW, {"most": 500}),
        (store.SELECT_AGAIN, {"most": 500, "created_at": store.FIRST[0], "id": ""}),
        (store.COUNT_WAITING, {}),
        (store.PRUNE, {"kept_d": 30, "most": 500}),
    ],
    ids=["new", "again", "waiting", "prune"],
)
def test_what_is_to_be_sent_or_removed_is_found_among_all_that_was_sent(
    ours: psycopg.Connection, query: LiteralString, given: dict[str, Any]
) -> None:
    for node in scans(explain(ours, query, given), "notification"):
        assert node["Node Type"] != "Seq Scan"
        assert visited(node) <= 500, f"{visited(node)} rows"
