"""`ops reconcile`, `audit`, `outbox` and past balances, on servers with wrong data."""

import psycopg
import pytest
import redis

from tests.support import keydb_rights, ledger, messages, ops_tool, servers
from tests.support.manual_changes import behind_the_triggers
from tests.support.ops_tool import Tool


@pytest.fixture
def ops(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> Tool:
    """The tool after one tick; the broker is down, and nobody misses it."""
    messages.add_providers(conn)
    made = ops_tool.deployment(dsn, keydb_url=keydb_server.url(keydb_rights.OPERATOR))
    tick(made, 1)
    return made


def tick(ops: Tool, number: int) -> None:
    with ledger.syncing(ops.settings["POSTGRES_DSN"], ops.settings["KEYDB_URL"]) as syncer:
        assert not syncer.tick(ledger.minute(number)).behind


def unseen(conn: psycopg.Connection, provider: int, value: int) -> None:
    """Add a transaction that no trigger sees, as a replica role or a disabled trigger lets."""
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        ledger.add(conn, provider, value)


def actions(conn: psycopg.Connection) -> list[tuple[object, ...]]:
    return conn.execute(
        "SELECT action, subject, outcome, operator, detail FROM operator_action ORDER BY id"
    ).fetchall()


def test_a_rebuild_sends_keydb_everything_and_says_who_did_it(
    ops: Tool, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    store.set("2_Mastercard", "7")

    done = ops.json("rebuild")

    assert done["keys"] == 2
    ledger.assert_right(conn, store)
    assert actions(conn) == [("keydb_rebuilt", "1", "2 keys sent", "night shift", {})]


def test_a_rebuild_sends_the_tick_that_is_shown_and_nothing_that_was_prepared_since(
    ops: Tool, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    before = ledger.shown(store), ledger.watermark(store)
    ledger.add(conn, 1, 600)
    with ledger.syncing(ops.settings["POSTGRES_DSN"], ops.settings["KEYDB_URL"]) as syncer:
        syncer.fold()
        syncer.prepare()
        assert ops.json("rebuild")["keys"] == 2
        assert (ledger.shown(store), ledger.watermark(store)) == before
        syncer.tick(ledger.minute(2))
    ledger.assert_right(conn, store)


def test_accounts_that_agree_are_said_to(ops: Tool, conn: psycopg.Connection) -> None:
    ledger.add(conn, 1, 600)

    done = ops.json("reconcile")

    assert done["drifting"] == 0
    assert (done["ledger"]["transactions"], done["keydb"]["state"]) == (1, "compared")
    assert done["repaired"] is None
    assert "0 differences" in ops("reconcile").stdout
    assert "nothing to repair" in ops("reconcile", "--repair").stdout


def test_differences_that_are_not_shown_are_counted(ops: Tool, conn: psycopg.Connection) -> None:
    for number in range(100, 122):
        conn.execute("INSERT INTO initial_data VALUES (%s, 'one of many', 0)", [number])
        unseen(conn, number, 600)

    said = ops("reconcile").stdout

    assert "22 differences" in said
    assert said.count("is missing") == 20
    assert "and 2 more providers" in said


@pytest.mark.parametrize(
    ("persistence", "how"), [("UNLOGGED", "it is UNLOGGED"), ("LOGGED", "TRUNCATE or DELETE while")]
)
def test_a_history_that_lost_rows_is_not_repaired_into_the_balances(
    persistence: str, how: str, ops: Tool, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    ledger.add(conn, 1, 600)
    tick(ops, 2)
    conn.execute(f"ALTER TABLE historical_transactions SET {persistence}")
    kept = conn.execute("SELECT * FROM historical_transactions").fetchall()
    behind_the_triggers(conn, "TRUNCATE historical_transactions")  # as a crash does
    ledger.add(conn, 1, 5)

    said = ops("reconcile").stdout
    assert f"has lost {len(kept)} row that the balances count: {how}" in said
    assert "next: ops reconcile --repair" not in said
    refused = ops("reconcile", "--repair")
    assert (refused.code, "--accept-loss" in refused.stderr) == (1, True)

    conn.execute("ALTER TABLE historical_transactions SET LOGGED")
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.executemany(
            "INSERT INTO historical_transactions OVERRIDING SYSTEM VALUE"
            " VALUES (%s, %s, %s, %s, %s)",
            kept,
        )
    assert ops.json("reconcile")["drifting"] == 0
    tick(ops, 3)
    ledger.assert_right(conn, store)


def test_a_loss_that_is_accepted_is_repaired(
    ops: Tool, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    ledger.add(conn, 1, 600)
    tick(ops, 2)
    behind_the_triggers(conn, "DELETE FROM historical_transactions")
    assert "all rows" in ops("reconcile").stdout
    ops.json("reconcile", "--repair", "--accept-loss", "--reason", "they were tests")
    tick(ops, 3)
    ledger.assert_right(conn, store)


def test_what_was_not_counted_is_found_and_repaired_with_who_and_why(
    ops: Tool, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    unseen(conn, 1, 600)
    store.set("2_Mastercard", "7")

    done = ops.json("reconcile", code=1)

    assert done["ledger"]["drifts"][0]["missing"] == 600
    assert done["keydb"]["drifting"] == ["2_Mastercard"]
    assert "600 is missing" in ops("reconcile").stdout
    mended = ops.json("reconcile", "--repair", "--reason", "trigger was off")
    assert mended["repaired"]["corrections"] == [{"provider_id": 1, "amount": 600}]
    assert actions(conn) == [
        ("reconcile_repaired", "all", "1 correction", "night shift", {"reason": "trigger was off"}),
        ("reconcile_repaired", "all", "keydb sent everything", "night shift",
         {"reason": "trigger was off"}),
    ]  # fmt: skip
    reasons = conn.execute("SELECT reason FROM outbox WHERE operation = 'repaired'").fetchall()
    assert reasons == [("night shift: trigger was off",)]
    tick(ops, 2)
    assert ops.json("reconcile")["drifting"] == 0
    ledger.assert_right(conn, store)


@pytest.mark.parametrize("does", ["RETURN NULL", "NEW.amount := 1; RETURN NEW"])
def test_corrections_that_a_trigger_swallows_or_changes_are_not_said_to_be_made(
    does: str, ops: Tool, conn: psycopg.Connection
) -> None:
    unseen(conn, 1, 600)
    conn.execute(
        f"""
        CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does}; END $$;
        CREATE TRIGGER theirs BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION theirs()
        """.encode()
    )

    done = ops("reconcile", "--repair", "--json")

    assert done.code == 1
    assert "nothing was repaired" in done.document["error"]["detail"]
    assert ops.json("reconcile", code=1)["ledger"]["drifting"] == [1]
    assert actions(conn) == []


def test_a_keydb_that_is_down_ends_reconcile_with_3_and_the_rest_is_still_said(ops: Tool) -> None:
    nowhere = ops_tool.deployment().settings["KEYDB_URL"]

    done = ops.json("reconcile", code=3, KEYDB_URL=nowhere)

    assert done["keydb"]["state"] == "unreachable"
    assert done["ledger"]["providers"] == 2


def test_a_tick_is_audited_by_boundary_and_by_epoch(ops: Tool, conn: psycopg.Connection) -> None:
    ledger.add(conn, 1, 600)
    tick(ops, 2)

    by_time = ops.json("audit", "2020-01-01T00:02")
    by_epoch = ops.json("audit", str(by_time["epoch"]))

    assert by_time == by_epoch
    assert by_time["clean"]
    assert by_time["recomputed"] == {"rows": 1, "amount": 600}
    conn.execute("UPDATE balance SET balance = balance + 1 WHERE epoch = %s", [by_time["epoch"]])
    altered = ops.json("audit", "2020-01-01T00:02", code=1)
    assert altered["differences"] == [{"provider_id": 1, "counted": 600, "written": 601, "rows": 1}]


def test_a_tick_that_never_was_is_refused_in_words(ops: Tool) -> None:
    done = ops("audit", "2019-01-01T00:00", "--json")

    assert done.code == 1
    assert "no tick" in done.document["error"]["detail"]
    assert ops("audit", "yesterday").code == 2


def test_rows_of_the_default_partition_are_counted_and_moved(
    ops: Tool, conn: psycopg.Connection
) -> None:
    assert ops.json("outbox", "partitions")["default_rows"] == 0
    conn.execute(
        "INSERT INTO outbox (provider_id, amount, operation, created_at)"
        " VALUES (1, 0, 'added', now() - interval '1 day')"
    )

    assert ops.json("outbox", "partitions", code=1)["default_rows"] == 1
    assert "next: ops outbox repair" in ops("outbox", "partitions").stdout
    assert ops.json("outbox", "repair") == {"moved": 1}
    assert actions(conn) == [
        ("outbox_repaired", "outbox_default", "1 row moved", "night shift", {})
    ]
    assert ops.json("outbox", "partitions")["default_rows"] == 0


def test_balances_are_shown_as_they_were(ops: Tool, conn: psycopg.Connection) -> None:
    ledger.add(conn, 1, 600)
    tick(ops, 3)

    then = ops.json("balances", "--as-of", "2020-01-01T00:02:59")
    now = ops.json("balances", "--as-of", "2020-01-01T00:03")

    assert {one["key"]: one["balance"] for one in then["balances"]} == {
        "1_Visa": 1000,
        "2_Mastercard": 2000,
    }
    assert then["boundary"] == "2020-01-01T00:01:00Z"
    assert {one["key"]: one["balance"] for one in now["balances"]}["1_Visa"] == 1600
    assert ops("balances", "--as-of", "2019-01-01").code == 1
