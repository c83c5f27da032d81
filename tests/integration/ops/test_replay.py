"""`ops dead-letters replay`: a dead letter becomes a row or stays one, never both, and by whom."""

import psycopg

from tests.support import messages, refusing_trigger
from tests.support.concurrently import at_once
from tests.support.messages import body, counted, rows, truth
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import actions, dead_letters, store


def test_a_replayed_dead_letter_with_a_mended_body_is_a_row_that_counts_once(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b'{"id": 1, "value": "600"}', "mended"))
    (number,) = dead_letters(ops).values()

    done = ops.json("dead-letters", "replay", str(number), "--body", body().decode())

    assert (done["rows"], done["duplicates"], done["dead"]) == (1, 0, {})
    assert rows(conn) == [(1, 600)]
    assert messages.dead_letters(conn) == []
    assert counted(conn) == truth(conn)
    assert actions(conn) == [
        ("dead_letter_replayed", str(number), "row", "night shift", b'{"id": 1, "value": "600"}')
    ]


def test_a_replay_of_a_dead_letter_that_has_its_row_makes_no_second_one(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"{}", "twice"))
    store(ops, (body(), "twice"))  # the producer sent it again, mended, under the same identity

    done = ops.json("dead-letters", "replay", "--all", code=1)
    assert done["dead"] == {"missing_field": 1}
    (number,) = dead_letters(ops).values()
    done = ops.json("dead-letters", "replay", str(number), "--body", body().decode())

    assert (done["rows"], done["duplicates"]) == (0, 1)
    assert rows(conn) == [(1, 600)]
    assert messages.dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_what_is_unfit_still_stays_the_same_dead_letter_with_what_is_wrong_now(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (b"no", "still"))
    (number,) = dead_letters(ops).values()

    done = ops.json("dead-letters", "replay", str(number), "--body", "[]", code=1)
    waits = ops.json("dead-letters", "replay", str(number), "--body", body(9).decode(), code=1)

    assert done["letters"] == [{"id": number, "outcome": "not_object"}]
    assert waits["letters"] == [{"id": number, "outcome": "unknown_provider"}]
    assert messages.dead_letters(conn) == [("unknown_provider", "waiting", body(9))]
    assert rows(conn) == []
    conn.execute("INSERT INTO initial_data VALUES (9, 'Late', 0)")
    with messages.ingest_connection(ops.settings["POSTGRES_DSN"]) as writer:
        assert messages.release_parked(writer) == 1
    assert counted(conn) == truth(conn)


def test_one_that_cannot_be_stored_does_not_hold_back_the_others(
    ops: Tool, conn: psycopg.Connection
) -> None:
    refusing_trigger.create(conn, "23514", where="true")
    store(ops, (body(1, 1), "good-1"), (body(1, 666), "bad"), (body(2, 2), "good-2"))
    assert set(messages.reasons(conn)) == {"refused_by_database"}
    refusing_trigger.drop(conn)
    refusing_trigger.create(conn, "23514", where="NEW.transaction_value = 666")

    done = ops.json("dead-letters", "replay", "--reason", "refused_by_database", code=1)

    assert (done["rows"], done["dead"]) == (2, {"refused_by_database": 1})
    assert sorted(rows(conn)) == [(1, 1), (2, 2)]
    assert [text for _, _, text in messages.dead_letters(conn)] == [body(1, 666)]
    assert counted(conn) == truth(conn)


def test_a_conflict_is_resolved_by_an_identity_of_its_own(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(1, 600), "same"))
    store(ops, (body(2, 50), "same"))
    (number,) = dead_letters(ops).values()

    assert ops.json("dead-letters", "replay", str(number), code=1)["dead"] == {"id_conflict": 1}
    done = ops.json("dead-letters", "replay", str(number), "--message-id", "another")

    assert done["rows"] == 1
    assert sorted(rows(conn)) == [(1, 600), (2, 50)]
    assert counted(conn) == truth(conn)


def test_two_people_who_replay_at_once_make_one_row_each(
    ops: Tool, conn: psycopg.Connection
) -> None:
    refusing_trigger.create(conn, "23514")
    store(ops, *((body(1, number), f"m{number}") for number in range(200)))
    refusing_trigger.drop(conn)

    done = at_once(*[lambda: ops.json("dead-letters", "replay", "--all")] * 2)

    assert sum(one["rows"] for one in done) == 200
    assert len(rows(conn)) == 200
    assert messages.dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_a_replay_that_the_server_breaks_off_changes_nothing(
    ops: Tool, conn: psycopg.Connection
) -> None:
    refusing_trigger.create(conn, "23514")
    store(ops, *((body(1, number), f"m{number}") for number in range(1200)))
    refusing_trigger.drop(conn)
    # Refused alike and for no fault of theirs, yet only in the second page.
    refusing_trigger.create(conn, "53100", where="NEW.transaction_value > 1000")

    done = ops("dead-letters", "replay", "--all", "--json")

    assert done.code == 3
    assert rows(conn) == []
    assert len(messages.dead_letters(conn)) == 1200
    assert actions(conn) == []


def test_a_dead_letter_that_was_replayed_already_is_said_and_is_no_failure(ops: Tool) -> None:
    store(ops, (b'{"id": 1, "value": "600"}', "mended"))
    (number,) = dead_letters(ops).values()
    ops.json("dead-letters", "replay", str(number), "--body", body().decode())

    done = ops("dead-letters", "replay", str(number))

    assert done.code == 0
    assert f"there is no dead letter {number} any more: replayed at " in done.stdout
    assert ops("dead-letters", "purge", str(number), "--yes").code == 1


def test_an_edit_is_for_one_dead_letter_and_nothing_is_replayed_by_mistake(ops: Tool) -> None:
    assert ops("dead-letters", "replay").code == 2
    assert ops("dead-letters", "replay", "1", "2", "--body", "{}").code == 2
    assert ops("dead-letters", "replay", "1", "--all").code == 2
    assert ops("dead-letters", "purge").code == 2


def test_what_a_person_replays_is_stored_though_its_row_was_deleted_by_hand(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(1, 600), "back"))
    conn.execute("DELETE FROM historical_transactions")
    refusing_trigger.create(conn, "23514")
    store(ops, (body(1, 600), "back"))
    refusing_trigger.drop(conn)

    assert ops.json("dead-letters", "replay", "--all")["rows"] == 1

    assert rows(conn) == [(1, 600)]
    assert counted(conn) == truth(conn)


def test_an_edit_into_another_dead_letter_is_refused(ops: Tool, conn: psycopg.Connection) -> None:
    store(ops, (b"one", "same"))
    store(ops, (b"two", "same"))
    first = min(one["id"] for one in ops.json("dead-letters", "list")["letters"])

    done = ops("dead-letters", "replay", str(first), "--body", "two", "--json")

    assert done.code == 1
    assert "already" in done.document["error"]["detail"]
    assert len(messages.dead_letters(conn)) == 2
