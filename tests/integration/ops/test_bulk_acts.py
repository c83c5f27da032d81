"""Bulk acts on dead letters: to their own queue only, tried first, on record, never more."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from ops.dead_letters.core import Choice
from ops.dead_letters.replay import Edit, Order
from ops.dead_letters.replay_each import Queues, replay_each
from shared.shard import ONLY
from shared.transaction_body import Limits
from tests.support import locks, messages, refusing_trigger
from tests.support.containers import ROOT
from tests.support.messages import body, counted, rows, truth
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import actions, dead_letters, store

PRICE = b'{"id": 1, "value": 600, "currency": "EUR"}'


def details(conn: psycopg.Connection) -> list[Any]:
    return [one for (one,) in conn.execute("SELECT detail FROM operator_action ORDER BY id")]


def dead_letter_of(conn: psycopg.Connection, queue: str) -> int:
    """Store a dead letter that another program of the future leaves; returns its id."""
    row = conn.execute(
        "INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)"
        " VALUES ('price-1', 'wrong_type', '', %s, %s, '{}', 'open') RETURNING id",
        [queue, PRICE],
    ).fetchone()
    assert row
    return int(row[0])


def test_a_dead_letter_of_another_queue_never_becomes_money(
    ops: Tool, conn: psycopg.Connection
) -> None:
    theirs = dead_letter_of(conn, "theirs")
    refusing_trigger.create(conn, "23514")
    store(ops, (body(1, 5), "ours"))
    refusing_trigger.drop(conn)

    alone = ops.json("dead-letters", "replay", str(theirs), code=1)
    done = ops.json("dead-letters", "replay", "--all")

    assert [one["says"] for one in alone["absent"]] == [
        f"dead letter {theirs} came from theirs, not from incoming_transactions"
    ]
    assert (done["rows"], done["elsewhere"]) == (1, 1)
    assert (
        "1 dead letter left: from another queue than"
        in ops("dead-letters", "replay", "--all").stdout
    )
    assert rows(conn) == [(1, 5)]
    assert dead_letters(ops, "--queue", "theirs") == {"price-1": theirs}
    assert ops("dead-letters", "replay", "--queue", "theirs").code == 2


def test_what_comes_while_letters_are_replayed_is_not_from_another_queue(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"{}", "before"))

    def meanwhile(_: int) -> None:
        if "meanwhile" not in dead_letters(ops):
            store(ops, (b"{}", "meanwhile"))
            dead_letter_of(conn, "theirs")

    order = Order(Choice(), Edit(), "me", Limits(65536), progress=meanwhile)
    with messages.ingest_connection(ops.settings["POSTGRES_DSN"]) as writer:
        done = replay_each(writer, order, Queues.of("incoming_transactions", 60, ONLY))

    assert (done.dead, done.elsewhere) == ({"missing_field": 2}, 1)


def test_what_somebody_else_did_meanwhile_is_not_from_another_queue(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"{}", "theirs by then"))
    with psycopg.connect(ops.settings["POSTGRES_DSN"]) as other, ThreadPoolExecutor(1) as beside:
        other.execute("SELECT FROM dead_letter FOR UPDATE")
        running = beside.submit(ops.json, "dead-letters", "replay", "--all")
        locks.awaited(conn)
        other.execute("DELETE FROM dead_letter")
        other.commit()
        done = running.result()

    assert (done["letters"], done["elsewhere"]) == ([], 0)


def test_of_one_provider_those_of_other_queues_are_counted(
    ops: Tool, conn: psycopg.Connection
) -> None:
    dead_letter_of(conn, "theirs")
    store(ops, (b'{"id": 1}', "ours"), (b'{"id": 2}', "anothers"))

    done = ops.json("dead-letters", "replay", "--provider", "1", code=1)

    assert (len(done["letters"]), done["elsewhere"]) == (1, 1)


def test_a_dead_letter_of_prices_is_read_as_a_price_only(
    ops: Tool, conn: psycopg.Connection
) -> None:
    price = dead_letter_of(conn, "prices")

    done = ops.json("dead-letters", "replay", "--all", code=1)

    assert done["letters"] == [{"id": price, "outcome": "missing_field"}]
    assert rows(conn) == []


def test_dead_letters_of_the_queue_that_ingest_is_set_to_read_are_replayed(
    ops: Tool, conn: psycopg.Connection
) -> None:
    price = dead_letter_of(conn, "renamed")

    assert ops("dead-letters", "replay", str(price), INGEST_STREAM="stream").code == 1
    assert ops.json("dead-letters", "replay", str(price), INGEST_QUEUE="renamed")["rows"] == 1


def test_a_dry_run_of_a_replay_says_what_each_would_become_and_changes_nothing(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"{}", "has its row"), (body(2, 7), "has its row"))
    refusing_trigger.create(conn, "23514")
    store(ops, (body(1, 5), "good"), (b"no", "bad"), (body(9), "early"), (body(1, 6), "twice"))
    store(ops, (body(1, 6), "refused"))
    refusing_trigger.drop(conn)
    store(ops, (body(1, 6), "twice"))  # stored by now: its dead letter has a row
    refusing_trigger.create(conn, "23514", where="NEW.message_id = 'refused'")
    ids, before = dead_letters(ops), messages.dead_letters(conn)

    found = ops.json("dead-letters", "replay", "--all", "--dry-run", code=1)
    said = ops("dead-letters", "replay", "--all", "--dry-run").stdout

    names = {number: name for name, number in ids.items()}
    assert {names[one["id"]]: one["outcome"] for one in found["letters"]} == {
        "has its row": "missing_field", "good": "row", "bad": "not_json",
        "early": "unknown_provider", "twice": "duplicate", "refused": "refused_by_database",
    }  # fmt: skip
    assert found["dry_run"] is True
    assert "nothing was changed; it would be 1 new row, 1 had one already" in said
    assert [str(ids["good"]), "row"] in [line.split() for line in said.splitlines()]
    assert messages.dead_letters(conn) == before
    assert sorted(rows(conn)) == [(1, 6), (2, 7)]
    assert actions(conn) == []
    assert counted(conn) == truth(conn)
    done = ops.json("dead-letters", "replay", "--all", code=1)
    assert (done["letters"], done["dry_run"]) == (found["letters"], False)


def test_a_dry_run_of_a_purge_says_what_would_go_and_asks_nothing(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"one", "a"), (b"[]", "b"))
    number = dead_letters(ops)["a"]

    found = ops.json("dead-letters", "purge", "--reason", "not_json", "--dry-run")
    none = ops("dead-letters", "purge", "--reason", "not_utf8", "--dry-run").stdout
    said = ops("dead-letters", "purge", "--all", "--dry-run").stdout

    assert found == {
        "purged": 0, "absent": [], "dry_run": True,
        "letters": [{"id": number, "outcome": "deleted", "reason": "not_json"}],
    }  # fmt: skip
    assert "2 dead letters would be deleted" in said
    assert none.strip() == "no such dead letters"
    assert len(messages.dead_letters(conn)) == 2
    assert actions(conn) == []


def test_why_it_was_done_and_what_was_chosen_are_kept(ops: Tool, conn: psycopg.Connection) -> None:
    store(ops, (b"one", "a"), (b"[]", "b"))

    ops("dead-letters", "replay", "--reason", "not_json", "--note", "they say it is mended")
    ops("dead-letters", "purge", "--reason", "not_object", "--provider", "1", "--yes")
    ops("dead-letters", "purge", "--all", "--yes", "--note", "a test of theirs")

    assert [(one.get("chosen"), one.get("note")) for one in details(conn)] == [
        ({"reason": "not_json", "queue": messages.QUEUE}, "they say it is mended"),
        (None, "a test of theirs"),
        (None, "a test of theirs"),
    ]


def test_what_comes_between_the_question_and_the_answer_is_not_purged(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"one", "a"), (b"two", "b"), (b"three", "mended meanwhile"))
    mended = dead_letters(ops)["mended meanwhile"]
    with subprocess.Popen(
        ops.command("dead-letters", "purge", "--reason", "not_json"),
        cwd=ROOT,
        env=ops.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stderr
        assert process.stdout
        question = b""
        while b"[y/N]" not in question:
            question += os.read(process.stderr.fileno(), 1000) or pytest.fail(question.decode())
        store(ops, (b"four", "in between"))
        ops("dead-letters", "replay", str(mended), "--body", "[]")  # its reason is another now
        said, _ = process.communicate(b"y\n")

    assert "Delete 3 dead letters for good?" in question.decode()
    assert "2 dead letters deleted" in said.decode()
    assert f"dead letter {mended} is not of the kind that was asked for" in said.decode()
    assert process.returncode == 1
    assert set(dead_letters(ops)) == {"in between", "mended meanwhile"}
