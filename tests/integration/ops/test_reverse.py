"""`ops transaction reverse`: a transaction is taken back once, on record, or it is said why not."""

from typing import Any

import psycopg
import pytest
import redis
from psycopg.conninfo import make_conninfo

from services.ingest import store as ingest_store
from tests.support import ledger, ops_tool, servers
from tests.support.concurrently import at_once
from tests.support.messages import body, counted, rows, truth
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import store
from tests.support.tcp_proxy import proxying

WHY = ("--reason", "paid twice")


def noted(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    return conn.execute(
        "SELECT action, subject, outcome, operator, detail ->> 'reason' FROM operator_action"
    ).fetchall()


def refused(ops: Tool, identity: str) -> str:
    """Ask for a reversal that must be refused; returns why."""
    detail = ops.json("transaction", "reverse", identity, *WHY, code=1)["error"]["detail"]
    assert isinstance(detail, str)
    return detail


def test_a_reversed_transaction_counts_nothing_and_who_did_it_is_known(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(1, 600), "payment-4711"), (body(2, -5), "other"))

    done = ops.json("transaction", "reverse", "payment-4711", *WHY)

    assert done == {
        "message_id": "payment-4711", "row": 1, "reversal": "reversal-of:payment-4711",
        "reversal_row": 3, "provider_id": 1, "value": -600, "dry_run": False,
    }  # fmt: skip
    assert rows(conn) == [(1, 600), (2, -5), (1, -600)]
    assert counted(conn) == truth(conn) == {1: 1000, 2: 1995}
    assert noted(conn) == [
        ("transaction_reversed", "payment-4711", "done", "night shift", "paid twice")
    ]


def test_keydb_shows_a_reversal_at_the_next_boundary(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    conn.execute("INSERT INTO historical_transactions VALUES (DEFAULT, %s, 600, 'p')", [visa])
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(ledger.minute(1))
        assert store.get(f"{visa}_Visa") == "1600"
        ops_tool.deployment(dsn).json("transaction", "reverse", "p", *WHY)
        syncer.tick(ledger.minute(2))
    assert store.get(f"{visa}_Visa") == "1000"
    ledger.assert_right(conn, store)


def test_twice_is_once_also_at_the_same_moment(ops: Tool, conn: psycopg.Connection) -> None:
    store(ops, (body(1, 600), "twice"))

    done = at_once(*[lambda: ops("transaction", "reverse", "twice", *WHY)] * 3)

    assert sorted(one.code for one in done) == [0, 1, 1]
    assert "twice is reversed already: by row " in refused(ops, "twice")
    assert rows(conn) == [(1, 600), (1, -600)]
    assert counted(conn) == truth(conn)
    assert len(noted(conn)) == 1


def test_a_dry_run_says_it_and_changes_nothing(ops: Tool, conn: psycopg.Connection) -> None:
    store(ops, (body(1, 600), "payment"))

    said = ops("transaction", "reverse", "payment", *WHY, "--dry-run").stdout
    document = ops.json("transaction", "reverse", "payment", *WHY, "--dry-run")

    assert said == "row 1 (payment, +600 for provider 1) would be reversed by -600\n"
    assert (document["value"], document["reversal_row"], document["dry_run"]) == (-600, None, True)
    assert rows(conn) == [(1, 600)]
    assert noted(conn) == []


def test_a_dry_run_whose_server_is_lost_as_it_is_taken_back_has_its_answer(
    dsn: str, ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(1, 600), "payment"))
    with proxying(dsn) as (proxy, cut_dsn):
        proxy.lose(b"ROLLBACK")
        done = ops_tool.deployment(cut_dsn)("transaction", "reverse", "payment", *WHY, "--dry-run")
        assert proxy.cuts == 1
    assert (done.code, rows(conn)) == (0, [(1, 600)])


def test_what_has_no_row_is_refused_with_where_it_is(ops: Tool, conn: psycopg.Connection) -> None:
    store(ops, (b"{}", "dead"), (body(9, 1), "early"), (body(1, 7), "gone"))
    conn.execute("DELETE FROM historical_transactions")

    assert "dead has no row yet" in refused(ops, "dead")
    assert "dead letter 1 is open (missing_field)" in refused(ops, "dead")
    assert "dead letter 2 waits for provider 9" in refused(ops, "early")
    assert "was changed or deleted by hand" in refused(ops, "gone")
    assert "there is no transaction never" in refused(ops, "never")
    assert rows(conn) == []
    assert noted(conn) == []


def test_a_reversal_and_what_no_balance_has_are_refused(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(1, 600), "once"), (body(2, 5), "orphan"))
    ops.json("transaction", "reverse", "once", *WHY)
    conn.execute("ALTER TABLE historical_transactions DISABLE TRIGGER ALL")
    conn.execute("ALTER TABLE initial_data DISABLE TRIGGER ALL")
    conn.execute("DELETE FROM initial_data WHERE id = 2")
    conn.execute("ALTER TABLE historical_transactions ENABLE TRIGGER ALL")

    assert "is a reversal itself" in refused(ops, "reversal-of:once")
    assert "provider 2 of orphan is gone" in refused(ops, "orphan")
    assert rows(conn) == [(1, 600), (2, 5), (1, -600)]


def test_the_longest_identity_of_a_message_can_be_reversed_once(
    ops: Tool, conn: psycopg.Connection
) -> None:
    longest = "é" * 127 + "x"
    assert len(longest.encode()) == 255
    store(ops, (body(1, 600), longest))

    done = ops.json("transaction", "reverse", longest, *WHY)

    assert done["reversal"] == f"reversal-of:{longest}"
    assert "reversed already" in refused(ops, longest)
    assert counted(conn) == truth(conn)


def test_a_value_whose_negation_does_not_fit_is_refused(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(1, -(2**63)), "least"))

    assert "9223372036854775808 is beyond the range" in refused(ops, "least")
    assert rows(conn) == [(1, -(2**63))]


@pytest.mark.parametrize(
    ("trigger", "why"),
    [
        ("RETURN NULL;", "let no row come"),
        ("NEW.provider_id := 2; RETURN NEW;", "another row of it"),
        ("NEW.transaction_value := 1; RETURN NEW;", "another row of it"),
    ],
)
def test_a_trigger_that_makes_something_else_of_it_leaves_nothing_done(
    ops: Tool, conn: psycopg.Connection, trigger: str, why: str
) -> None:
    store(ops, (body(1, 600), "payment"))
    conn.execute(
        f"CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {trigger} END $$"
    )
    conn.execute(
        "CREATE TRIGGER theirs BEFORE INSERT ON historical_transactions"
        " FOR EACH ROW EXECUTE FUNCTION theirs()"
    )

    assert why in refused(ops, "payment")
    assert rows(conn) == [(1, 600)]
    assert noted(conn) == []


def test_a_reversal_that_no_trigger_of_ours_counts_is_not_made(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(1, 600), "payment"))
    conn.execute("ALTER TABLE historical_transactions DISABLE TRIGGER minutebook_inserted")

    assert "none of ours counts it" in refused(ops, "payment")
    assert rows(conn) == [(1, 600)]


def test_the_rights_of_operators_are_enough(ops: Tool, dsn: str, conn: psycopg.Connection) -> None:
    store(ops, (body(1, 600), "payment"))
    as_operator = make_conninfo(dsn, options="-c role=minutebook_ops")

    ops.json("transaction", "reverse", "payment", *WHY, POSTGRES_DSN=as_operator)

    assert rows(conn) == [(1, 600), (1, -600)]
    assert "minutebook.writer" in ingest_store.OPTIONS  # what would hide it from our trigger
    assert counted(conn) == truth(conn)


@pytest.mark.parametrize("reason", [[], ["--reason", " "], ["--reason", "x" * 1001]])
def test_a_reason_is_needed(ops: Tool, reason: list[str]) -> None:
    assert ops("transaction", "reverse", "payment", *reason).code == 2
