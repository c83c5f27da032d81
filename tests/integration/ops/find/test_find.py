"""`ops find`: a row, and the tick that counted it."""

import psycopg
import pytest

from services.syncer import retention
from services.syncer.partitions import Kept
from services.syncer.service import Syncer
from tests.support import ledger, manual_changes, messages, ops_tool, postgres_logins
from tests.support.finding import DELETE, ONE, epoch, found, rfc3339, summary
from tests.support.ledger import minute
from tests.support.messages import body
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import store


def test_a_counted_row_names_its_tick_and_when_keydb_showed_it(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer
) -> None:
    syncer.tick(minute(1))
    store(ops, (body(), ONE))
    syncer.tick(minute(2))
    syncer.tick(minute(3))

    document = found(ops)

    assert document["message_id"] == ONE
    assert summary(document) == ("shown", "tick", epoch(conn, 2), rfc3339(2))
    assert document["row"]["amount"] == "600"
    assert document["shown_at"] is not None
    assert found(ops, "--row", str(document["row"]["id"])) == document
    assert "counted by the tick 2020-01-01T00:02:00Z" in ops("find", ONE).stdout


def test_a_row_of_provider_0_without_its_outbox_rows_names_the_provider(
    ops: Tool, conn: psycopg.Connection
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (0, 'Zero', 0)")
    store(ops, (body(0), ONE))
    conn.execute("DELETE FROM outbox")

    assert "provider 0, 600" in ops("find", ONE).stdout


def test_the_next_tick_will_count_what_none_has_counted(ops: Tool, syncer: Syncer) -> None:
    syncer.tick(minute(1))
    store(ops, (body(), ONE))

    document = found(ops)

    assert summary(document) == ("stored", None, None, None)
    assert document["changes"][0]["tick"] is None
    assert document["next"] == []
    assert "the next tick will count it" in ops("find", ONE).stdout


def test_a_row_of_an_interim_tick_is_counted_by_the_tick_that_shows_it(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer
) -> None:
    syncer.tick(minute(1))
    store(ops, (body(), ONE))
    syncer.fold()
    syncer.prepare()
    assert conn.execute("SELECT count(*) FROM tick WHERE interim").fetchone() == (1,)
    assert summary(found(ops)) == ("stored", None, None, None)

    syncer.tick(minute(2))

    assert summary(found(ops)) == ("shown", "tick", epoch(conn, 2), rfc3339(2))


def test_a_transaction_that_was_open_at_a_snapshot_is_counted_by_the_tick_after_its_commit(
    ops: Tool, dsn: str, conn: psycopg.Connection, syncer: Syncer
) -> None:
    with psycopg.connect(dsn) as late:
        late.execute(
            "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
            " VALUES (1, 5, %s)",
            [ONE],
        )
        ledger.add(conn, 2, 1)  # ends first, so that the snapshot lists the other as in progress
        syncer.tick(minute(1))
        late.commit()
    assert summary(found(ops)) == ("stored", None, None, None)

    syncer.tick(minute(2))

    assert summary(found(ops)) == ("shown", "tick", epoch(conn, 2), rfc3339(2))


def test_a_tick_that_keydb_never_showed_is_shown_by_the_next_one(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer
) -> None:
    store(ops, (body(), ONE))
    ledger.count_all(conn)
    assert found(ops)["state"] == "counted"

    syncer.tick(minute(5))

    assert (found(ops)["state"], found(ops)["epoch"]) == ("shown", 1)


def test_of_a_row_older_than_the_outbox_the_tick_is_not_known_any_more(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer
) -> None:
    store(ops, (body(), ONE))
    syncer.tick(minute(1))
    conn.execute("UPDATE tick SET folded_at = '2020-01-01Z' WHERE epoch = 0")
    conn.execute("UPDATE historical_transactions SET created_at = '2020-01-01 05:30Z'")
    conn.execute("SELECT minutebook_make_partition('2020-01-01 05:00Z')")
    conn.execute("UPDATE outbox SET created_at = '2020-01-01 05:30Z'")
    assert found(ops)["counted_by"] == "tick"
    assert retention.run_once(conn, Kept(1, 30)).dropped == 1

    assert summary(found(ops)) == ("shown", "older tick", None, None)


def test_a_row_from_before_us_is_counted_by_the_baseline(
    ops: Tool, conn: psycopg.Connection
) -> None:
    manual_changes.behind_the_triggers(
        conn,
        "INSERT INTO historical_transactions (provider_id, transaction_value, message_id,"
        " created_at) VALUES (1, 5, 'payment-1', NULL)",
    )

    assert summary(found(ops))[1:] == ("baseline", 0, None)


def test_after_a_failover_to_another_cluster_the_new_baseline_has_counted_it(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer
) -> None:
    store(ops, (body(), ONE))
    syncer.tick(minute(1))
    conn.execute("UPDATE tick SET system_identifier = 1")  # all of them are another cluster's
    store(ops, (body(2, 7), "payment-2"))
    syncer.tick(minute(2))
    store(ops, (body(2, 8), "payment-3"))
    syncer.tick(minute(3))

    for name in (ONE, "payment-2"):
        assert summary(found(ops, name)) == ("shown", "baseline", epoch(conn, 2), rfc3339(2))
    assert summary(found(ops, "payment-3")) == ("shown", "tick", epoch(conn, 3), rfc3339(3))


def test_a_row_that_no_outbox_row_names_will_not_be_counted_and_says_what_to_do(
    ops: Tool, conn: psycopg.Connection
) -> None:
    manual_changes.behind_the_triggers(
        conn,
        "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
        " VALUES (1, 5, 'payment-1')",
    )

    document = found(ops)

    assert summary(document) == ("stored", None, None, None)
    assert "ops reconcile" in document["next"][0]


def test_a_row_whose_time_somebody_changed_keeps_its_tick(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer
) -> None:
    store(ops, (body(), ONE))
    syncer.tick(minute(1))
    conn.execute("UPDATE historical_transactions SET created_at = now() + interval '1 hour'")

    assert summary(found(ops)) == ("shown", "tick", epoch(conn, 1), rfc3339(1))


def test_what_was_never_seen_is_exit_1_and_says_where_to_look(ops: Tool, amqp_url: str) -> None:
    store(ops, (body(), "payment-4711"), (b"no", "another"))
    messages.publish(amqp_url, body(), identities=["payment-4712"])

    document = found(ops, "payment-4712", code=1)

    assert summary(document) == ("unknown", None, None, None)
    queue, dead, spelling = document["next"]
    assert queue == "queue incoming_transactions: 1 message ready to be stored"
    assert "not_json (another)" in dead
    assert spelling == "spelling: the nearest are payment-4711"
    assert found(ops, "--row", "99", code=1)["state"] == "unknown"


def test_with_the_broker_away_what_was_never_seen_is_said_all_the_same(
    dsn: str, syncer: Syncer
) -> None:
    done = ops_tool.deployment(dsn)("find", "nobody")

    assert done.code == 1
    assert "rabbitmq cannot be reached" in done.stdout
    assert ops_tool.deployment(dsn)("find").code == 2
    assert ops_tool.deployment(dsn)("find", "x", "--row", "1").code == 2


@pytest.mark.parametrize("login", ["ops", postgres_logins.READER])
def test_who_only_reads_may_find(conn: psycopg.Connection, ops: Tool, dsn: str, login: str) -> None:
    store(ops, (body(), ONE))
    conn.execute(DELETE)
    postgres_logins.make_logins(conn)
    try:
        own = ops_tool.deployment(postgres_logins.dsn_of(login, dsn))
        document = found(own)
        assert document["state"] == "removed"
        assert (document["acts"] is None) == (login != "ops")
        assert found(own, "nobody", code=1)["next"]
    finally:
        for name in postgres_logins.LOGINS:
            conn.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"'.encode())
