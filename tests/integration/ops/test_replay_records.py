"""A dead letter is replayed only to the queue it came from, by what acts on that queue."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.notifier import answers, records
from shared import dead_letter_store
from shared.amqp.properties import Properties
from shared.unfit import Unfit
from tests.support import alert_records, messages
from tests.support.alert_records import BELOW, EACH, HANDLERS, add_notification, apply, record
from tests.support.messages import body
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import actions, store

NO_PROPERTIES = Properties(b"\0\0")
MONEY = b'{"id": 1, "value": 600}'
PAYMENT_1 = Properties(b"\0\x80\x09payment-1")
"""The property message_id and no other (AMQP 0-9-1, section 4.2.6.1)."""


def store_unfit(conn: psycopg.Connection, text: bytes, queue: str = records.QUEUE) -> str:
    """Write an unfit message as the worker does; returns the dead letter's id."""
    try:
        with conn.transaction():
            HANDLERS[queue](conn, text)
    except Unfit as unfit:
        dead_letter_store.insert(conn, queue, NO_PROPERTIES, text, unfit)
    row = conn.execute("SELECT max(id) FROM dead_letter").fetchone()
    assert row
    return str(row[0])


def send_misrouted(conn: psycopg.Connection) -> None:
    """Have a transaction come from queue alerts, where a producer sent it by mistake."""
    unfit = Unfit("missing_field", "")
    dead_letter_store.insert(conn, records.QUEUE, PAYMENT_1, MONEY, unfit)


def left(conn: psycopg.Connection) -> list[tuple[str, str]]:
    return alert_records.dead_letters(conn)


def fates(found: dict[str, Any]) -> list[str]:
    return [one["outcome"] for one in found["letters"]]


def test_a_record_that_looks_like_money_never_becomes_money(
    ops: Tool, conn: psycopg.Connection
) -> None:
    dead_letter = store_unfit(conn, MONEY)
    store(ops, (b'{"id": 1}', "ours"))

    done = ops.json("dead-letters", "replay", "--all", code=1)
    alone = ops.json("dead-letters", "replay", dead_letter, code=1)

    assert done["dead"] == {"missing_field": 2}
    assert (alone["rows"], fates(alone)) == (0, ["missing_field"])
    assert messages.rows(conn) == []
    assert messages.counted(conn) == messages.truth(conn)
    assert left(conn) == [("alerts", "missing_field"), (messages.QUEUE, "missing_field")]


def test_a_record_never_becomes_an_alert_by_the_queue_of_transactions(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (record(), "ours"))

    assert ops.json("dead-letters", "replay", "--all", code=1)["dead"] == {"missing_field": 1}
    assert alert_records.alerts(conn) == {}


def test_a_record_that_is_fit_by_now_is_applied_and_its_dead_letter_gone(
    ops: Tool, conn: psycopg.Connection
) -> None:
    apply(conn, *(record(alert=EACH, source_id=str(number)) for number in range(100)))
    dead_letter = store_unfit(conn, record(alert=EACH, source_id="more"))
    apply(conn, record("REMOVED", None, source_id="7"))

    tried = ops.json("dead-letters", "replay", dead_letter, "--dry-run")
    assert (fates(tried), tried["applied"], left(conn)) == (
        ["applied"], 1, [("alerts", "too_many")],
    )  # fmt: skip

    done = ops.json("dead-letters", "replay", "--queue", "alerts", "--note", "room again")

    assert (done["applied"], done["rows"], done["elsewhere"]) == (1, 0, 0)
    assert "more" in alert_records.alerts(conn)
    assert left(conn) == []
    assert actions(conn)[-1][:4] == ("dead_letter_replayed", dead_letter, "applied", "night shift")
    again = ops.json("dead-letters", "replay", dead_letter)
    assert [one["record"] for one in again["absent"]] == ["replayed"]


@pytest.mark.parametrize("redelivered", [False, True])
def test_a_transaction_that_also_went_to_the_wrong_queue_still_becomes_money(
    ops: Tool, conn: psycopg.Connection, *, redelivered: bool
) -> None:
    send_misrouted(conn)
    again = messages.received(MONEY, "payment-1")._replace(redelivered=redelivered)

    with messages.ingest_connection(ops.settings["POSTGRES_DSN"]) as writer:
        messages.store_batch(writer, [again])

    rows = conn.execute("SELECT message_id FROM historical_transactions").fetchall()
    assert rows == [("payment-1",)]
    assert left(conn) == [("alerts", "missing_field")]


def test_a_transaction_that_also_went_to_the_wrong_queue_waits_for_its_provider(
    ops: Tool, conn: psycopg.Connection
) -> None:
    conn.execute("DELETE FROM initial_data WHERE id = 1")
    send_misrouted(conn)

    store(ops, (MONEY, "payment-1"))

    waiting = conn.execute("SELECT message_id FROM dead_letter WHERE state = 'waiting'").fetchall()
    assert waiting == [("payment-1",)]


def test_a_record_is_corrected_and_an_older_version_still_changes_nothing(
    ops: Tool, conn: psycopg.Connection
) -> None:
    dead_letter = store_unfit(conn, record(alert=BELOW | {"threshold": 6.5}, version=2))
    apply(conn, record(version=3))
    text = record(alert=BELOW | {"threshold": 7}, version=2).decode()

    still = ops.json("dead-letters", "replay", dead_letter, "--body", "no", code=1)
    done = ops.json("dead-letters", "replay", dead_letter, "--body", text)

    assert fates(still) == ["not_json"]
    assert (done["ignored"], fates(done)) == (1, ["ignored"])
    assert alert_records.alerts(conn) == {"A": 1000}
    assert left(conn) == []
    assert (
        "1 ignored"
        in ops("dead-letters", "replay", store_unfit(conn, b"no"), "--body", text).stdout
    )


def test_an_answer_is_noted_once_its_notification_is_there(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store_unfit(conn, b'{"id": "n1"}', answers.QUEUE)
    add_notification(conn, "n1")

    assert ops.json("dead-letters", "replay", "--queue", answers.QUEUE)["applied"] == 1
    assert conn.execute("SELECT delivered_at IS NOT NULL FROM notification").fetchone() == (True,)


def test_dead_letters_of_several_queues_go_each_its_own_way_in_one_go(
    ops: Tool, conn: psycopg.Connection
) -> None:
    conn.execute("DELETE FROM initial_data WHERE id = 2")
    store(ops, (body(2, 5), "early"))
    store_unfit(conn, b'{"id": "n1"}', answers.QUEUE)
    store_unfit(conn, record("TOUCHED"))
    conn.execute("INSERT INTO initial_data VALUES (2, 'Mastercard', 0)")
    add_notification(conn, "n1")

    done = ops.json("dead-letters", "replay", "--all", code=1)

    assert (done["rows"], done["applied"], done["dead"]) == (1, 1, {"invalid_value": 1})
    assert left(conn) == [("alerts", "invalid_value")]


def test_dead_letters_of_alerts_are_found_by_their_reasons(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store_unfit(conn, record("TOUCHED"))
    store_unfit(conn, b'{"id": "n1"}', answers.QUEUE)

    for reason, queue in (("invalid_value", "alerts"), ("unknown_notification", answers.QUEUE)):
        (found,) = ops.json("dead-letters", "list", "--reason", reason)["letters"]
        assert found["queue"] == queue


def test_an_identity_means_nothing_to_a_record(ops: Tool, conn: psycopg.Connection) -> None:
    done = ops("dead-letters", "replay", store_unfit(conn, b"no"), "--message-id", "x")

    assert (done.code, "no identity matters" in done.stderr) == (1, True)


def test_dead_letters_that_were_exported_are_sent_to_no_other_queue_than_their_own(
    ops: Tool, conn: psycopg.Connection, tmp_path: Path
) -> None:
    store_unfit(conn, MONEY)
    file = tmp_path / "letters.jsonl"
    assert ops("dead-letters", "export", "--output", str(file)).code == 0

    sent = ops("send", "--file", str(file), "--unchecked", "--give-up-after", "1", "--json")

    assert json.loads(file.read_text())["queue"] == "alerts"
    assert sent.code == 1
    assert "came from alerts" in json.dumps(sent.document)
    assert sent.document["not_sent"] == 0 or sent.document["confirmed"] == 0
