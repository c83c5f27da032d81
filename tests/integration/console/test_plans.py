"""Plans of the console: a page costs what it shows, whatever is kept."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, LiteralString

import psycopg
import pytest
from pydantic import Secret

from ops.console import balance_store, comparison, listing, operations, tick_store
from shared import postgres
from shared.ledger import balance_page, notifications, request_store, series
from shared.settings import PostgresSettings
from tests.support import servers
from tests.support.query_plans import explain, keep_much, nodes, scans, visited

PROVIDERS, TICKS, KEPT = 20_000, 1500, 20_000
SIZES = {"providers": PROVIDERS, "ticks": TICKS, "kept": KEPT}
FILL: list[LiteralString] = [
    "INSERT INTO initial_data SELECT n, 'Bank', 0 FROM generate_series(1, %(providers)s) n",
    "DELETE FROM tick",
    "DELETE FROM balance",
    """
    INSERT INTO tick
    SELECT t, 'token-' || t, to_timestamp(t * 60), pg_current_snapshot(), system_identifier, 100,
           0, now(), now()
      FROM generate_series(1, %(ticks)s) t, pg_control_system()
    """,
    """
    INSERT INTO balance
    SELECT p, t, p || '_Bank', false, t
      FROM generate_series(1, %(ticks)s) t, generate_series(1, %(providers)s) p
     WHERE t IN (1, %(ticks)s) OR (p + t) %% 200 = 0 AND t %% 7 = 0
    """,
    """
    INSERT INTO outbox (transaction_id, provider_id, amount, operation)
    SELECT n, 1, n, 'added' FROM generate_series(1, %(kept)s) n
    """,
    """
    INSERT INTO notification (id, alert_id, provider_id, epoch, condition, balance, created_at)
    SELECT 'n-' || n, 1, n, 1, 'below', n, now() - n * interval '1 second'
      FROM generate_series(1, %(kept)s) n
    """,
    """
    INSERT INTO operator_action (action, subject, outcome, operator)
    SELECT 'act', n, 'done', 'me' FROM generate_series(1, %(kept)s) n
    """,
    """
    INSERT INTO request (id, kind, submitted_by, items, digest, published_at, decided_at, state,
                         outcome, accepted_at)
    SELECT 'done-' || n, 'transactions', 'me', 1, '', at, at, 'done', '{"stored": 1}', at
      FROM generate_series(1, %(kept)s) n, LATERAL (SELECT now() - n * interval '1 minute' AS at) a
    """,
]
TABLES = (
    "initial_data", "tick", "balance", "outbox", "notification", "operator_action", "request",
)  # fmt: skip
AT = datetime.fromtimestamp(TICKS * 60, UTC)
PAGE = {"ids": list(range(10_000, 10_000 + listing.ROWS)), "epoch": TICKS, "boundary": AT}
NOTHING_IS_NEW = {"xmax_before": "1", "xmax": "2", "xip_before": ["1"], "snapshot": "2:2:"}
FEW = 500
LOOKUPS = 2 * listing.ROWS * (balance_store.MINUTES + 1)
Query = tuple[LiteralString, dict[str, Any], int]
QUERIES: dict[str, Query] = {
    "ticks": (tick_store.SELECT_TICKS, {"at": AT, "ticks": tick_store.TICKS}, 1000),
    "actions": (tick_store.SELECT_ACTIONS, {"at": "infinity", "most": operations.NEWEST}, FEW),
    "last": (balance_store.SELECT_LAST, {"at": AT}, FEW),
    "rows": (balance_store.SELECT_ROWS, PAGE, FEW),
    "minutes": (balance_store.SELECT_MINUTES, PAGE | {"minutes": balance_store.MINUTES}, LOOKUPS),
    "transactions": (balance_store.COUNT_TRANSACTIONS, NOTHING_IS_NEW, FEW),
    "moved": (
        balance_store.SELECT_MOVED,
        {"epoch": TICKS, "before": TICKS - 1, "moved": balance_store.MOVED_MAX},
        balance_store.MOVED_MAX,
    ),
    "search": (
        balance_store.SEARCH,
        {"pattern": "%9999%", "after": 0, "searched": balance_store.SEARCHED_MAX, "most": 50},
        balance_store.SEARCHED_MAX,
    ),
    "page": (
        balance_page.SELECT_PAGE,
        {"after": 10_000, "most": comparison.AT_ONCE, "at": AT, "epoch": TICKS},
        comparison.AT_ONCE,
    ),
    "notifications": (
        notifications.SELECT_NOTIFICATIONS,
        dict.fromkeys(("alert_id", "provider_id", "condition", "state", "since", "until"))
        | {"limit": operations.NEWEST, "before_at": "infinity", "before_id": ""},
        FEW,
    ),
    "requests": (
        request_store.SELECT_NEWEST,
        {"accepted_at": "infinity", "key": "", "most": operations.NEWEST},
        FEW,
    ),
    "day": (
        series.SELECT_SERIES,
        {"times": [datetime.fromtimestamp(n * 60, UTC) for n in range(1440)], "provider_id": 7},
        3000,
    ),
}


@pytest.fixture(scope="module", params=["never-analyzed", "analyzed"])
def ours(
    request: pytest.FixtureRequest, postgres_server: servers.Postgres
) -> Iterator[psycopg.Connection]:
    """A connection as the console's are, to a database that has kept much."""
    with postgres_server.database() as dsn:
        tables = [one for one in TABLES if one != "outbox"]
        keep_much(dsn, tables, FILL, SIZES, analyzed=request.param == "analyzed")
        settings = PostgresSettings(postgres_dsn=Secret(dsn))
        options = balance_store.OPTIONS
        with postgres.connection(settings, application="test", options=options) as conn:
            yield conn


@pytest.mark.parametrize("name", QUERIES)
def test_a_page_reads_what_it_shows(ours: psycopg.Connection, name: str) -> None:
    query, values, visited_max = QUERIES[name]

    plan = explain(ours, query, values)

    for table in TABLES:
        for node in scans(plan, table):
            assert node["Node Type"] != "Seq Scan", f"{table} is read whole"
            assert visited(node) <= visited_max, f"{visited(node)} rows of {table}"
    assert any("Index Name" in node for node in nodes(plan))
