"""History is pruned behind, and what is left still answers and still leads to a right KeyDB."""

import psycopg
import redis

from services.syncer import retention
from services.syncer.partitions import Kept
from services.syncer.retention import Done
from tests.support import ledger, servers
from tests.support.ledger import add, count_all, minute


def run(conn: psycopg.Connection) -> Done:
    return retention.run_once(conn, Kept(24, 30))


def age(conn: psycopg.Connection, *, up_to: int) -> None:
    conn.execute(
        "UPDATE tick SET folded_at = now() - interval '31 days' WHERE epoch <= %s", [up_to]
    )


def test_history_is_pruned_but_the_newest_balance_at_the_horizon_stays(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    still = ledger.add_provider(conn, "Still", 7)
    for number in range(1, 6):
        add(conn, visa, 1)
        if number == 5:
            add(conn, still, 1)
        count_all(conn)
    past = {epoch: ledger.balances(conn, epoch) for epoch in (4, 5)}
    age(conn, up_to=3)
    assert run(ours).pruned > 0
    epochs = conn.execute("SELECT epoch FROM tick ORDER BY epoch").fetchall()
    assert epochs == [(4,), (5,)]
    assert {epoch: ledger.balances(conn, epoch) for epoch in (4, 5)} == past
    kept = conn.execute("SELECT provider_id, epoch FROM balance ORDER BY 1, 2").fetchall()
    assert kept == [(1, 4), (1, 5), (2, 1), (2, 5)]
    assert run(ours).pruned == 0


def test_the_newest_tick_stays_however_old(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    count_all(conn)
    age(conn, up_to=1)
    run(ours)
    assert ledger.newest(conn)[0] == 1
    assert ledger.balances(conn) == {"1_Visa": "1000"}


def test_a_store_whose_watermark_was_pruned_is_sent_everything(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        conn.execute("UPDATE initial_data SET provider_name = 'V'")
        count_all(conn)  # unpublished
        add(conn, visa, 1)
        count_all(conn)
        age(conn, up_to=2)
        run(ours)
        assert syncer.publisher.publish().state == "applied"
    ledger.assert_right(conn, store)
