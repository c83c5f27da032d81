"""`ops find`: dead letters, replays, changes by hand, rows that were taken back."""

import psycopg

from services.syncer.service import Syncer
from tests.support import messages
from tests.support.finding import DELETE, ONE, epoch, found, rfc3339, summary
from tests.support.ledger import minute
from tests.support.messages import body
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import dead_letters, store


def test_a_duplicate_leaves_one_life_and_a_conflict_a_dead_letter_beside_it(
    ops: Tool, syncer: Syncer
) -> None:
    store(ops, (body(), ONE))
    store(ops, (body(), ONE))
    store(ops, (body(2, 9), ONE))
    syncer.tick(minute(1))

    document = found(ops)

    assert [one["amount"] for one in document["changes"]] == ["600"]
    assert [one["reason"] for one in document["dead_letters"]] == ["id_conflict"]
    assert document["state"] == "shown"


def test_a_waiting_message_says_so_and_is_a_row_when_its_provider_came(
    ops: Tool, dsn: str, conn: psycopg.Connection, syncer: Syncer
) -> None:
    store(ops, (body(9), ONE))
    waiting = found(ops)
    assert (waiting["state"], waiting["dead_letters"][0]["reason"]) == (
        "waiting",
        "unknown_provider",
    )

    conn.execute("INSERT INTO initial_data VALUES (9, 'Late', 0)")
    with messages.ingest_connection(dsn) as writer:
        messages.release_parked(writer)
    syncer.tick(minute(1))

    assert summary(found(ops)) == ("shown", "tick", epoch(conn, 1), rfc3339(1))
    assert found(ops)["dead_letters"] == []


def test_a_replay_with_another_body_and_identity_is_found_under_both(
    ops: Tool, syncer: Syncer
) -> None:
    store(ops, (b'{"id": 1, "value": "600"}', ONE))
    assert found(ops)["state"] == "open"
    (number,) = dead_letters(ops).values()
    ops.json(
        "dead-letters", "replay", str(number), "--body", body().decode(), "--message-id", "other"
    )
    syncer.tick(minute(1))

    before, after = found(ops, ONE, code=0), found(ops, "other")

    assert after["state"] == "shown"
    assert before["state"] == "replayed"
    for document in (before, after):
        (act,) = document["acts"]
        assert (act["action"], act["outcome"], act["edited"]) == (
            "dead_letter_replayed", "row", True,
        )  # fmt: skip
        assert (act["message_id"], act["new_message_id"]) == (ONE, "other")


def test_a_purged_dead_letter_is_remembered(ops: Tool) -> None:
    store(ops, (b"no", ONE))
    ops.json("dead-letters", "purge", "--all", "--yes")

    assert found(ops)["state"] == "purged"


def test_changes_by_hand_are_told_each_with_its_tick(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer
) -> None:
    store(ops, (body(), ONE))
    syncer.tick(minute(1))
    conn.execute("UPDATE historical_transactions SET transaction_value = 700")
    syncer.tick(minute(2))

    document = found(ops)

    told = [(one["operation"], one["amount"], one["tick"]["epoch"]) for one in document["changes"]]
    assert told == [
        ("added", "600", epoch(conn, 1)),
        ("modified", "-600", epoch(conn, 2)),
        ("modified", "700", epoch(conn, 2)),
    ]
    assert summary(document) == ("shown", "tick", epoch(conn, 1), rfc3339(1))


def test_a_deleted_row_is_found_by_its_identity_and_by_its_id(
    ops: Tool, conn: psycopg.Connection, syncer: Syncer
) -> None:
    store(ops, (body(), ONE), (body(1, 601), "payment-2"))
    number = str(found(ops)["row"]["id"])
    syncer.tick(minute(1))
    conn.execute(DELETE)
    syncer.tick(minute(2))

    for document in (found(ops), found(ops, "--row", number)):
        assert (document["state"], document["row"]) == ("removed", None)
        assert [(one["amount"], one["tick"]["epoch"]) for one in document["changes"]] == [
            ("600", epoch(conn, 1)),
            ("-600", epoch(conn, 2)),
        ]


def test_a_row_and_the_one_that_takes_it_back_name_each_other(ops: Tool) -> None:
    store(ops, (body(), ONE), (body(1, -600), f"reversal-of:{ONE}"))

    assert found(ops)["reversed_by"] == f"reversal-of:{ONE}"
    assert f"takes back {ONE}" in ops("find", f"reversal-of:{ONE}").stdout
