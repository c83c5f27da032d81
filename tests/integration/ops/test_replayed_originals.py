"""What was replayed or purged, and is delivered again: nothing comes of it twice, or is lost."""

from concurrent.futures import ThreadPoolExecutor

import psycopg

from tests.support import locks, messages, refusing_trigger
from tests.support.messages import body, counted, rows, truth
from tests.support.ops_tool import Tool
from tests.support.stored_dead_letters import dead_letters, redeliver, store

NOTE_REPLAY = """
INSERT INTO operator_action (action, subject, outcome, operator, detail, body)
VALUES ('dead_letter_replayed', '1', 'row', 'somebody', '{"message_id": "mended"}', %s)
"""


def test_the_original_of_an_edited_dead_letter_is_not_stored_again_when_it_is_redelivered(
    ops: Tool, conn: psycopg.Connection
) -> None:
    original = b'{"id": 1, "value": "600"}'
    store(ops, (original, "mended"), (b"{", "mended"))
    number = min(one["id"] for one in ops.json("dead-letters", "list")["letters"])
    ops.json("dead-letters", "replay", str(number), "--body", "[]", code=1)
    store(ops, (original, "mended"))
    assert len(messages.dead_letters(conn)) == 2
    ops.json("dead-letters", "replay", str(number), "--body", body().decode())

    store(ops, (original, "mended"), (b"[]", "mended"))

    assert rows(conn) == [(1, 600)]
    assert messages.dead_letters(conn) == [("not_json", "open", b"{")]
    store(ops, (original, "another"), (b"[1]", "mended"))
    assert len(messages.dead_letters(conn)) == 3


def test_the_original_of_a_dead_letter_with_a_new_identity_is_not_stored_again_either(
    ops: Tool, conn: psycopg.Connection
) -> None:
    store(ops, (body(1, 600), "same"))
    store(ops, (body(2, 50), "same"))
    (number,) = dead_letters(ops).values()
    ops.json("dead-letters", "replay", str(number), "--message-id", "another")

    store(ops, (body(2, 50), "same"))
    store(ops, (body(1, 600), "same"))

    assert sorted(rows(conn)) == [(1, 600), (2, 50)]
    assert messages.dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_nor_when_it_is_redelivered_before_the_replay_is_committed(
    dsn: str, ops: Tool, conn: psycopg.Connection
) -> None:
    original = messages.received(b'{"id": 1, "value": "600"}', "mended")
    messages.store_batch(conn, [original])
    with (
        psycopg.connect(dsn) as replaying,
        messages.ingest_connection(dsn) as ingesting,
        ThreadPoolExecutor(1) as pool,
    ):
        replaying.execute("DELETE FROM dead_letter")
        replaying.execute(NOTE_REPLAY, [original.body])
        again = [original._replace(redelivered=True)]
        stored = pool.submit(messages.store_batch, ingesting, again)
        try:
            locks.awaited(conn)
        finally:
            replaying.commit()
        assert stored.result().messages() == 1
    assert messages.dead_letters(conn) == []


def test_nor_does_it_count_beside_the_new_identity_when_the_database_would_take_it_now(
    ops: Tool, conn: psycopg.Connection
) -> None:
    refusing_trigger.create(conn, "23514")
    store(ops, (body(1, 600), "refused"))
    refusing_trigger.drop(conn)
    (number,) = dead_letters(ops).values()
    ops.json("dead-letters", "replay", str(number), "--message-id", "another")

    redeliver(ops, (body(1, 600), "refused"), (body(2, 50), "never stored"))

    assert sorted(rows(conn)) == [(1, 600), (2, 50)]
    assert messages.dead_letters(conn) == []
    assert counted(conn) == truth(conn)


def test_what_was_purged_and_comes_again_is_decided_again_and_not_lost(
    ops: Tool, conn: psycopg.Connection
) -> None:
    refusing_trigger.create(conn, "23514")
    store(ops, (body(1, 600), "refused"), (b"{}", "unfit"))
    refusing_trigger.drop(conn)
    ops.json("dead-letters", "purge", "--all", "--yes")

    redeliver(ops, (body(1, 600), "refused"), (b"{}", "unfit"))  # or exported and sent again

    assert rows(conn) == [(1, 600)]
    assert messages.reasons(conn) == ["missing_field"]
