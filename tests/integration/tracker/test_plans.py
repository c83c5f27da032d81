"""Plans of tracking: they look at what is open, whatever is kept beside it."""

from collections.abc import Iterator
from typing import Any, LiteralString

import psycopg
import pytest
from pydantic import Secret

from services.tracker import __main__ as program
from services.tracker import intake_store, open_request_store, reply_store
from shared import postgres
from shared.ledger import request_store
from shared.settings import PostgresSettings
from tests.support import servers
from tests.support.query_plans import explain, keep_much, nodes, scans, visited

KEPT, OPEN, EACH = 20_000, 100, 3
VISITED_MAX = 10 * OPEN * EACH
"""Rows that a scan may touch: some times what is open, far below what is kept."""
SIZES = {"kept": KEPT, "open": OPEN, "each": EACH}
FILL: list[LiteralString] = [
    "INSERT INTO initial_data VALUES (1, 'Visa', 0)",
    "DELETE FROM tick",
    """
    INSERT INTO tick
    SELECT t, 'token-' || t, to_timestamp(t * 60), pg_current_snapshot(), system_identifier, 0, 0,
           now(), now()
      FROM generate_series(0, 2000) t, pg_control_system()
    """,
    """
    INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
    SELECT 1, n, 'other-' || n FROM generate_series(1, %(kept)s) n
    """,
    """
    INSERT INTO outbox (transaction_id, provider_id, amount, operation)
    SELECT n, 1, n, 'added' FROM generate_series(1, %(kept)s) n
    """,
    """
    INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)
    SELECT 'dead-' || n, 'not_json', '', 'q', '', '{}', 'open' FROM generate_series(1, %(kept)s) n
    """,
    """
    INSERT INTO received_message
    SELECT 'gone-' || n, 1, n FROM generate_series(1, %(kept)s) n
    """,
    """
    INSERT INTO request (id, kind, submitted_by, items, digest, published_at, decided_at, state,
                         outcome, accepted_at, replied_at, reply_to)
    SELECT 'done-' || n, 'transactions', 'me', 1, '', at, at, 'done', '{"stored": 1}', at, at, 'r'
      FROM generate_series(1, %(kept)s) n, LATERAL (SELECT now() - n * interval '1 minute' AS at) a
    """,
    """
    INSERT INTO request (id, kind, submitted_by, items, digest, published_at, accepted_at, numbers,
                         provider_ids, "values", message_ids, bodies_sha256)
    SELECT 'open-' || n, 'transactions', 'me', %(each)s, '', now(), now(), array_agg(i),
           array_agg(1), array_agg(i), array_agg('open-' || n || ':' || i), array_agg(''::bytea)
      FROM generate_series(1, %(open)s) n, generate_series(0, %(each)s - 1) i
     GROUP BY n
    """,
    """
    INSERT INTO request (id, kind, submitted_by, items, digest, published_at, decided_at, state,
                         outcome, xids, reply_to)
    SELECT 'uncounted-' || n, 'transactions', 'me', 1, '', now(), now(), 'done',
           '{"stored": 1}', ARRAY[pg_current_xact_id()], 'r'
      FROM generate_series(1, 20) n
    """,
    """
    INSERT INTO request (id, kind, submitted_by, items, digest, published_at, decided_at, state,
                         outcome, reply_to, reply_due)
    SELECT 'due-' || n, 'transactions', 'me', 1, '', now(), now(), 'done', '{"stored": 1}', 'r',
           'decided'
      FROM generate_series(1, 20) n
    """,
]
TABLES = (
    "historical_transactions", "dead_letter", "received_message", "request", "outbox", "tick",
)  # fmt: skip
FIRST = {"published_at": reply_store.FIRST[0], "decided_at": reply_store.FIRST[0], "key": ""}
LIMITS = {"requests": 1000, "items": 100_000, "most": 500}
KEYS = {"keys": [f"open-{n}" for n in range(1, OPEN + 1)]}
QUERIES: dict[str, tuple[LiteralString, dict[str, Any]]] = {
    "looks": (open_request_store.SELECT_OPEN, FIRST | LIMITS),
    "shown": (reply_store.UPDATE_SHOWN, FIRST | LIMITS),
    "newest shown": (reply_store.SELECT_SHOWN, {}),
    "due": (reply_store.SELECT_DUE, LIMITS),
    "again": (reply_store.TRY_AGAIN, {}),
    "open": (reply_store.COUNT_OPEN, {}),
    "prune": (reply_store.PRUNE, LIMITS | {"kept_d": 365}),
    "known": (intake_store.SELECT_KNOWN, KEYS),
    "missing": (intake_store.SELECT_MISSING, KEYS),
    "fates": (request_store.SELECT_FATES, {"ids": KEYS["keys"]}),
    "pending": (
        request_store.SELECT_NEWEST_OF_STATE,
        {"state": "pending", "accepted_at": "infinity", "key": "", "most": 50},
    ),
    "newest": (request_store.SELECT_NEWEST, {"accepted_at": "infinity", "key": "", "most": 50}),
}


@pytest.fixture(scope="module", params=["never-analyzed", "analyzed"])
def ours(
    request: pytest.FixtureRequest, postgres_server: servers.Postgres
) -> Iterator[psycopg.Connection]:
    """The tracker's own connection to a database that has kept much."""
    with postgres_server.database() as dsn:
        tables = [one for one in TABLES if one != "outbox"]
        keep_much(dsn, tables, FILL, SIZES, analyzed=request.param == "analyzed")
        settings = PostgresSettings(postgres_dsn=Secret(dsn))
        with postgres.connection(settings, application="test", options=program.OPTIONS) as conn:
            yield conn


@pytest.mark.parametrize("query", QUERIES)
def test_what_is_kept_is_not_read(ours: psycopg.Connection, query: str) -> None:
    plan = explain(ours, *QUERIES[query])

    for table in TABLES:
        for node in scans(plan, table):
            assert node["Node Type"] != "Seq Scan", f"{table} is read whole"
            assert visited(node) <= VISITED_MAX, f"{visited(node)} rows of {table}"
    assert any("Index Name" in node for node in nodes(plan))
