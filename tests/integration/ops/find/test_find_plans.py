"""`ops find` reads a few rows, however many there are."""

import psycopg

from services.syncer.service import Syncer
from shared.ledger import life, life_store
from tests.support.finding import ONE, found, summary
from tests.support.ledger import minute
from tests.support.messages import body
from tests.support.ops_tool import Tool
from tests.support.query_plans import explain, indexes, scans, visited
from tests.support.stored_dead_letters import store

FILL = """
INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
SELECT 1, 1, 'm' || n
  FROM generate_series(1, 200) n
"""


def test_find_reads_a_few_of_many_rows(conn: psycopg.Connection, syncer: Syncer) -> None:
    conn.execute("INSERT INTO outbox (transaction_id, provider_id, amount, operation, created_at)"
                 " SELECT n, 1, 1, 'added', now() + n * interval '10 ms'"
                 " FROM generate_series(100000, 200000) n")  # fmt: skip
    conn.execute(FILL)
    syncer.tick(minute(1))
    conn.execute("ANALYZE")
    with life_store.reading(conn):
        row = life_store.row(conn, message_id="m100")
    assert row

    conn.execute("SET enable_seqscan = off")
    plan = explain(conn, life_store.SELECT_CHANGES, {"row_id": row[0], "xmin": row[5]})
    assert not [one for one in scans(plan, "outbox") if one["Node Type"] == "Seq Scan"]
    assert sum(visited(one) for one in scans(plan, "outbox")) <= 200
    assert any("xid_idx" in one for one in indexes(plan))
    for query in (life_store.SELECT_ROW_OF_MESSAGE, life_store.SELECT_NEAREST):
        plan = explain(conn, query, {"message_id": "m100"})
        assert scans(plan, "historical_transactions")
        assert sum(visited(one) for one in scans(plan, "historical_transactions")) <= 2
    assert life.by_identity(conn, "m100").state == "shown"


LATER_TICKS = """
INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount)
SELECT 9 + 3 * n, n, now() + n * interval '1 min', pg_current_snapshot(), system_identifier, 0, 0
  FROM generate_series(1, 5000) n, pg_control_system()
"""


def test_the_tick_is_found_by_a_few_looks_however_many_came_later(
    conn: psycopg.Connection, ops: Tool, syncer: Syncer
) -> None:
    store(ops, (body(), ONE))
    syncer.tick(minute(1))
    counted = found(ops)
    conn.execute(LATER_TICKS)
    ((xid,),) = conn.execute("SELECT xid::text FROM outbox WHERE transaction_id = 1").fetchall()

    conn.execute("SET enable_seqscan = off")
    plan = explain(conn, life_store.SELECT_COUNTED, {"xid": xid})

    assert sum(visited(one) for one in scans(plan, "tick")) <= 50
    assert summary(found(ops)) == summary(counted)
