"""`ops alert` and `ops notifications`: added, listed, removed by hand, on record."""

from typing import Any

import psycopg
import pytest

from tests.support import alert_records, ops_tool
from tests.support.alert_records import BELOW, EACH, add_notification, apply, record
from tests.support.ops_tool import Tool

ACTIONS = "SELECT action, subject, operator, detail FROM operator_action ORDER BY id"
LATER = "UPDATE notification SET created_at = created_at + interval '1 hour' WHERE id = 'n2'"


@pytest.fixture
def ops(dsn: str) -> Tool:
    """The tool beside a Postgres; the other servers are down."""
    return ops_tool.deployment(dsn)


def add(ops: Tool, *arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = ops.json("alert", "add", *arguments)["alert"]
    return made


def listed(ops: Tool, *arguments: str) -> list[str]:
    return [one["source_id"] for one in ops.json("alert", "list", *arguments)["alerts"]]


def test_an_alert_of_each_kind_is_added_on_record(ops: Tool, conn: psycopg.Connection) -> None:
    add(ops, "below", "-50", "--provider", "1_Visa", "--name", "a")
    add(ops, "above", "100", "--each-provider", "--name", "b")
    add(ops, "change", "5", "--provider", "2", "--name", "c")
    add(ops, "silent", "--for", "2h", "--provider", "2", "--name", "d")

    assert alert_records.stored(conn) == [
        ("a", None, 1, "below", -50, None, True),
        ("b", None, None, "above", 100, None, True),
        ("c", None, 2, "change", 5, None, True),
        ("d", None, 2, "silent", None, 7200, True),
    ]
    done = conn.execute(ACTIONS).fetchall()
    assert [one[:3] for one in done] == [
        ("alert_added", str(number), "night shift") for number in range(1, 5)
    ]
    assert done[0][3] == {
        "provider_id": 1, "condition": "below", "threshold": -50, "for_seconds": None,
        "source": "ops", "source_id": "a",
    }  # fmt: skip


def test_a_name_is_used_once_and_the_same_again_is_no_other_alert(
    ops: Tool, conn: psycopg.Connection
) -> None:
    first = add(ops, "below", "5", "--provider", "1", "--name", "a")

    assert add(ops, "below", "5", "--provider", "1", "--name", "a") == first
    other = ops("alert", "add", "below", "6", "--provider", "1", "--name", "a")
    assert (other.code, "says something else" in other.stderr) == (1, True)
    assert add(ops, "below", "5", "--provider", "1")["id"] != first["id"]
    assert len(conn.execute(ACTIONS).fetchall()) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("below 5", "--provider ID or --each-provider"),
        ("below 5 --provider 1 --each-provider", "--provider ID or --each-provider"),
        ("below --provider 1", "THRESHOLD is missing"),
        ("below 6.00 --provider 1", "THRESHOLD is text that is no whole number"),
        ("below 5 --provider 1 --for 1h", "--for is for silent, not for below"),
        ("change 0 --provider 1", "THRESHOLD of change must be 1 or more"),
        ("silent --provider 1", "--for is missing"),
        ("silent --provider 1 --for 31d", "--for must be from 1 to 2591999 seconds"),
        ("under 5 --provider 1", "'under' is not one of"),
        ("below 5 --provider 1 --name=", "name has 0 bytes"),
        (f"below 5 --provider 1 --name {'x' * 256}", "name has 256 bytes"),
    ],
)
def test_what_could_not_be_judged_is_a_usage_error(
    ops: Tool, conn: psycopg.Connection, arguments: str, says: str
) -> None:
    done = ops("alert", "add", *arguments.split())
    assert (done.code, says in done.stderr) == (2, True), done
    assert alert_records.stored(conn) == []


def test_an_alert_of_a_provider_that_is_not_there_is_added_with_a_note(ops: Tool) -> None:
    asked = ("alert", "add", "below", "5", "--provider", "7", "--name", "a")
    note = "there is no provider 7 now: nothing is told before there is one"

    assert ops.json(*asked)["note"] == note
    assert ops(*asked).stdout.splitlines()[-1] == f"note: {note}"
    assert "note" not in ops.json("alert", "add", "below", "5", "--each-provider")


def test_how_long_silent_may_be_follows_from_how_long_history_is_kept(ops: Tool) -> None:
    silent = ("alert", "add", "silent", "--for", "31d", "--provider", "1")

    assert ops(*silent, HISTORY_RETENTION_DAYS="40").code == 0


def test_more_than_a_hundred_of_each_provider_are_refused(
    ops: Tool, conn: psycopg.Connection
) -> None:
    apply(conn, *(record(alert=EACH, source_id=str(number)) for number in range(100)))

    said = ops("alert", "add", "below", "5", "--each-provider")

    assert (said.code, "100 alerts of each provider" in said.stderr) == (1, True)
    assert len(alert_records.alerts(conn)) == 100


def test_alerts_are_listed_by_provider_condition_and_source(
    ops: Tool, conn: psycopg.Connection
) -> None:
    add(ops, "below", "5", "--provider", "1", "--name", "a")
    add(ops, "above", "5", "--each-provider", "--name", "b")
    apply(conn, record(alert=BELOW | {"provider_id": 2}, source_id="c", version=7))
    apply(conn, record("REMOVED", None, source_id="d"))

    assert listed(ops) == ["a", "b", "c"]
    assert listed(ops, "--provider", "1") == ["a", "b"]
    assert listed(ops, "--provider", "2_Mastercard") == ["b", "c"]
    assert listed(ops, "--condition", "below") == ["a", "c"]
    assert listed(ops, "--source", "ops") == ["a", "b"]
    assert listed(ops, "--removed") == ["a", "b", "c", "d"]
    shown = ops("alert", "list", "--removed").stdout
    assert "each" in shown
    assert "removed" in shown
    assert "4 alerts" in shown


def test_alerts_are_removed_all_or_none_and_on_record(ops: Tool, conn: psycopg.Connection) -> None:
    add(ops, "below", "5", "--provider", "1", "--name", "a")
    apply(conn, record(version=3))

    assert ops("alert", "remove", "1", "2", "99").code == 1
    assert len(alert_records.alerts(conn)) == 2

    gone = ops.json("alert", "remove", "1", "2")["removed"]

    assert [one["source_id"] for one in gone] == ["a", "A"]
    assert alert_records.alerts(conn) == {}
    assert ops("alert", "remove", "1").code == 1
    done = [one for one in conn.execute(ACTIONS).fetchall() if one[0] == "alert_removed"]
    assert [(one[1], one[3]["source"]) for one in done] == [("1", "ops"), ("2", "users")]
    assert apply(conn, record(version=3), record(version=4)) == ["ignored", "applied"]
    assert add(ops, "below", "5", "--provider", "1", "--name", "a")["active"]


def notified(ops: Tool, *arguments: str) -> list[str]:
    found = ops.json("notifications", "list", *arguments)["notifications"]
    return [one["id"] for one in found]


def test_notifications_are_listed_newest_first_by_what_became_of_them(
    ops: Tool, conn: psycopg.Connection
) -> None:
    assert ops("notifications", "list").stdout.strip() == "no notifications"
    add(ops, "below", "1000", "--provider", "1")
    add_notification(conn, "n1", sent_at="2026-11-28T07:00:00Z")
    add_notification(conn, "n2", provider_id=2, alert_id=99, error="unroutable", previous=None,
                     condition="above")  # fmt: skip
    conn.execute(LATER)
    add_notification(conn, "n3", sent_at="2026-11-28T07:00:00Z",
                     delivered_at="2026-11-28T07:00:01Z", balance=-(10**20))  # fmt: skip

    document = ops.json("notifications", "list")

    assert document["counts"] == {"unsent": 1, "sent": 1, "delivered": 1}
    assert [one["id"] for one in document["notifications"]] == ["n2", "n3", "n1"]
    assert document["notifications"][1]["balance"] == "-100000000000000000000"
    assert notified(ops, "--state", "unsent") == ["n2"]
    assert notified(ops, "--state", "sent") == ["n1"]
    assert notified(ops, "--state", "delivered") == ["n3"]
    assert notified(ops, "--provider", "1_Visa") == ["n3", "n1"]
    assert notified(ops, "--alert", "99") == ["n2"]
    assert notified(ops, "--condition", "below") == ["n3", "n1"]
    assert notified(ops, "--since", "1h") == ["n2", "n3", "n1"]
    assert notified(ops, "--until", "1h") == []
    assert notified(ops, "--limit", "1") == ["n2"]
    assert "unroutable" in ops("notifications", "list").stdout
