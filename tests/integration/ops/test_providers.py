"""`ops provider`, `ops balances`, `ops rebuild`: changes by hand, both stores side by side."""

import threading

import psycopg
import pytest
import redis

from services.syncer.projection import KEYS_KEY, WATERMARK_KEY
from tests.support import keydb_rights, ledger, messages, ops_tool, servers
from tests.support.ops_tool import Tool


@pytest.fixture
def ops(dsn: str, store: "redis.Redis", keydb_server: servers.Keydb) -> Tool:
    """The tool beside Postgres and KeyDB; the broker is down, and nobody misses it."""
    return ops_tool.deployment(dsn, keydb_url=keydb_server.url(keydb_rights.OPERATOR))


def providers(conn: psycopg.Connection) -> list[tuple[int, str, int]]:
    return conn.execute("SELECT * FROM initial_data ORDER BY id").fetchall()


def test_providers_are_added_renamed_changed_and_removed(
    ops: Tool, conn: psycopg.Connection
) -> None:
    assert ops.json("provider", "add", "Visa", "1000", "--id", "7")["provider"]["id"] == 7
    assert ops.json("provider", "add", "Debt", "-5")["provider"]["id"] == 8
    assert ops("provider", "rename", "7", "Visa Europe").code == 0
    assert ops("provider", "set-initial", "7", "-1").code == 0
    assert providers(conn) == [(7, "Visa Europe", -1), (8, "Debt", -5)]
    assert ops("provider", "remove", "8").code == 0

    assert providers(conn) == [(7, "Visa Europe", -1)]
    assert messages.counted(conn) == messages.truth(conn)
    noted = conn.execute("SELECT action, subject, operator FROM operator_action ORDER BY id")
    assert noted.fetchall() == [
        ("provider_added", "7", "night shift"),
        ("provider_added", "8", "night shift"),
        ("provider_renamed", "7", "night shift"),
        ("provider_initial_set", "7", "night shift"),
        ("provider_removed", "8", "night shift"),
    ]


def test_what_cannot_be_done_is_said_and_changes_nothing(
    ops: Tool, conn: psycopg.Connection
) -> None:
    messages.add_providers(conn)
    ledger.add(conn, 1, 5)
    before = providers(conn)

    for text, *arguments in (
        ("already", "add", "Again", "0", "--id", "1"),
        ("no provider 9", "rename", "9", "Nobody"),
        ("no provider 9", "set-initial", "9", "1"),
        ("no provider 9", "remove", "9"),
        ("has transactions", "remove", "1"),
        ("needs a name", "rename", "1", " "),
        ("beyond the range", "set-initial", "1", str(2**63)),
    ):
        done = ops("provider", *arguments, "--json")
        assert done.code == 1, arguments
        assert text in done.document["error"]["detail"]

    assert providers(conn) == before
    assert conn.execute("SELECT count(*) FROM operator_action").fetchone() == (0,)


def test_balances_stand_beside_what_keydb_shows(
    ops: Tool, dsn: str, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    messages.add_providers(conn)
    with ledger.syncing(dsn, ops.settings["KEYDB_URL"]) as syncer:
        syncer.tick(ledger.minute(1))
    ledger.add(conn, 1, 600)
    store.set("2_Mastercard", "1")

    visa, mastercard = ops.json("balances")["balances"]

    assert visa == {
        "provider_id": 1, "key": "1_Visa", "balance": 1000, "keydb": "1000", "same": True,
        "uncounted": 600,
    }  # fmt: skip
    assert (mastercard["balance"], mastercard["keydb"], mastercard["same"]) == (2000, "1", False)
    assert "1_Visa" in ops("balances").stdout


def test_a_rebuild_sends_everything_again_and_removes_what_is_over(
    ops: Tool, dsn: str, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    messages.add_providers(conn)
    with ledger.syncing(dsn, ops.settings["KEYDB_URL"]) as syncer:
        syncer.tick(ledger.minute(1))
        watermark = store.hgetall(WATERMARK_KEY)
        store.set("1_Visa", "999")
        store.delete("2_Mastercard")
        store.set("3_Gone", "1")
        store.sadd(KEYS_KEY, "3_Gone")
        store.set("theirs", "stays")

        done = ops.json("rebuild")

        assert (done["keys"], done["removed"]) == (2, 1)
        assert store.getdel("theirs") == "stays"
        ledger.assert_right(conn, store)
        after = store.hgetall(WATERMARK_KEY)
        assert (after["epoch"], after["token"]) == (watermark["epoch"], watermark["token"])
        ledger.add(conn, 1, 5)
        assert syncer.tick(ledger.minute(2)).state == "applied"
    ledger.assert_right(conn, store)


def test_rebuilds_beside_a_syncer_at_work_leave_the_newest_tick(
    ops: Tool, dsn: str, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    messages.add_providers(conn)
    ended = threading.Event()

    def rebuild() -> None:
        for _ in range(4):
            done = ops("rebuild")
            # With no pause between ticks it may come too late each time: that is no fault.
            assert done.code == 0 or "syncers were faster each time" in done.stderr
        ended.set()

    with ledger.syncing(dsn, ops.settings["KEYDB_URL"]) as syncer:
        syncer.tick(ledger.minute(1))
        beside = threading.Thread(target=rebuild)
        beside.start()
        number = 1
        while not ended.is_set() and beside.is_alive():
            number += 1
            ledger.add(conn, 1, 1)
            syncer.tick(ledger.minute(number))
        beside.join()
        assert ended.is_set()
        ledger.add(conn, 1, 1)
        assert not syncer.tick(ledger.minute(number + 1)).behind
    ledger.assert_right(conn, store)


def test_a_rebuild_does_not_take_an_epoch_of_another_life_back(
    ops: Tool, dsn: str, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    messages.add_providers(conn)
    with ledger.syncing(dsn, ops.settings["KEYDB_URL"]) as syncer:
        syncer.tick(ledger.minute(1))
    store.hset(WATERMARK_KEY, mapping={"epoch": "99", "token": "of another life"})

    done = ops("rebuild", "--json")

    assert done.code == 1
    assert store.hget(WATERMARK_KEY, "epoch") == "99"


def test_before_the_first_tick_there_is_nothing_to_rebuild_from(ops: Tool) -> None:
    assert ops("rebuild").code == 1


def test_a_store_that_is_down_ends_it_with_3(ops: Tool) -> None:
    nowhere = ops_tool.deployment().settings["KEYDB_URL"]

    assert ops("balances", KEYDB_URL=nowhere).code == 3
    assert ops("rebuild", KEYDB_URL=nowhere).code == 3


def test_providers_are_listed_with_what_they_began_with_and_their_keys(ops: Tool) -> None:
    assert ops.json("provider", "list") == {"providers": []}
    ops("provider", "add", "Visa", "1000", "--id", "7")
    ops("provider", "add", "Odd\nname", "-5", "--id", "9")

    found = ops.json("provider", "list")["providers"]
    said = ops("provider", "list").stdout

    assert found == [
        {"id": 7, "provider_name": "Visa", "initial_value": 1000, "key": "7_Visa"},
        {"id": 9, "provider_name": "Odd\nname", "initial_value": -5, "key": "9_Odd\nname"},
    ]
    assert ["7", "Visa", "1000", "7_Visa"] in [line.split() for line in said.splitlines()]
    assert "2 providers" in said


def test_balances_of_a_time_to_come_are_refused(ops: Tool, dsn: str) -> None:
    with ledger.syncing(dsn, ops.settings["KEYDB_URL"]) as syncer:
        syncer.tick(ledger.minute(1))

    refused = ops("balances", "--as-of", "2999-01-01T00:00+01:00")

    assert refused.code == 1
    assert "2998-12-31T23:00:00Z is in the future: it is 2" in refused.stderr
    assert "UTC" in refused.stderr
    assert ops("balances", "--as-of", "0s ago").code == 0
