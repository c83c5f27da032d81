"""Whatever fails in a round of retention is reported once, and the rest of the round is done."""

import psycopg
import pytest
import structlog
from prometheus_client import REGISTRY

from services.syncer import retention
from services.syncer.partitions import Kept
from services.syncer.retention import Done
from shared.errors import Unavailable
from tests.support.ledger import count_all, minute
from tests.support.partitions import made

RAISE = """
CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'not on a Saturday' USING ERRCODE = 'MB001'; END $$;
CREATE TRIGGER theirs BEFORE DELETE ON tick FOR EACH ROW EXECUTE FUNCTION theirs();
CREATE TRIGGER theirs BEFORE DELETE ON received_message FOR EACH ROW EXECUTE FUNCTION theirs()
"""
SATURDAY = "MB001: not on a Saturday"


def run(conn: psycopg.Connection) -> Done:
    return retention.run_once(conn, Kept(24, 30))


def failures() -> dict[str, float]:
    return {
        sample.labels["task"]: sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "minutebook_retention_failures_total"
    }


def test_a_task_that_fails_is_reported_the_others_are_done_and_it_is_tried_again(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    for number in range(3):
        conn.execute("SELECT minutebook_make_partition(%s)", [minute(240 * number)])
    count_all(conn)
    count_all(conn)
    conn.execute("UPDATE tick SET folded_at = now() - interval '31 days' WHERE epoch < 2")
    conn.execute(
        "INSERT INTO received_message (message_id, provider_id, value, noted_at)"
        " VALUES ('x', 1, 1, '2020-01-01')"
    )
    oldest = made(conn)[0]
    conn.execute(f"CREATE VIEW theirs AS TABLE {oldest}")
    conn.execute("ALTER FUNCTION minutebook_make_partition RENAME TO elsewhere")
    conn.execute("ALTER TABLE outbox_default RENAME TO elsewhere")
    conn.execute(RAISE)
    before = failures()
    with structlog.testing.capture_logs() as logs:
        done = run(ours)
    assert (done.made, done.dropped, done.pruned) == (0, 2, 0), "all but the one in a view"
    function = "minutebook_make_partition(timestamp with time zone, interval)"
    assert {one["task"]: one["detail"] for one in logs if one["event"] == "upkeep_failed"} == {
        "make_partitions": f"42883: function {function} does not exist",
        "drop_partitions": f"2BP01: cannot drop table {oldest} because other objects depend on it",
        "prune_history": SATURDAY,
        "prune_messages": SATURDAY,
        "measure": '42P01: relation "outbox_default" does not exist',
    }
    assert failures() == {task: count + 1 for task, count in before.items()}
    conn.execute("DROP VIEW theirs; DROP FUNCTION theirs CASCADE")
    conn.execute("ALTER FUNCTION elsewhere RENAME TO minutebook_make_partition")
    conn.execute("ALTER TABLE elsewhere RENAME TO outbox_default")
    done = run(ours)
    assert (done.dropped, done.pruned) == (1, 3)
    assert failures() == {task: count + 1 for task, count in before.items()}


def test_what_is_overdue_is_measured_though_the_default_partition_cannot_be_counted(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(RAISE)
    conn.execute(
        "INSERT INTO received_message (message_id, provider_id, value, noted_at)"
        " VALUES ('x', 1, 1, now() - interval '34 hours')"
    )
    conn.execute("ALTER TABLE outbox_default RENAME TO elsewhere")
    run(ours)
    overdue_s = REGISTRY.get_sample_value(
        "minutebook_retention_overdue_seconds", {"task": "prune_messages"}
    )
    assert overdue_s == pytest.approx(36_000, abs=60)


def test_a_connection_that_is_lost_ends_the_round(
    ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute("SELECT pg_terminate_backend(%s)", [ours.info.backend_pid])
    with pytest.raises(Unavailable):
        run(ours)
