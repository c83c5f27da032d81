"""Rows that came in a time, found by their ids."""

import psycopg

from shared.ledger import arrival
from tests.support import messages, query_plans
from tests.support.ledger import minute


def test_rows_that_came_in_a_time_are_found_by_their_ids(conn: psycopg.Connection) -> None:
    messages.add_providers(conn)
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value, created_at)"
        " SELECT 1, n, %s::timestamptz + n * interval '1 minute' FROM generate_series(1, 5000) n",
        [minute(0)],
    )
    conn.execute("UPDATE historical_transactions SET created_at = NULL WHERE id <= 10")
    conn.execute("SET enable_seqscan = off")
    came = {"provider_id": 1, **arrival.between(conn, minute(1000), minute(1010)), "late": []}

    rows = conn.execute(arrival.SELECT_ARRIVED, came).fetchall()
    plan = query_plans.explain(conn, arrival.SELECT_ARRIVED, came)

    assert [int(row[2]) for row in rows] == list(range(1001, 1011))
    scans = query_plans.scans(plan, "historical_transactions")
    assert sum(query_plans.visited(one) for one in scans) <= 2 * 61 + 10
    plan = query_plans.explain(conn, arrival.SELECT_FIRST_ID, {"at": minute(1000)})
    scans = query_plans.scans(plan, "historical_transactions")
    assert sum(query_plans.visited(one) for one in scans) <= 2 * 13 + 2
