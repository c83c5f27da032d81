"""A dead letter that cannot be written holds up no good row; it is kept, and not acknowledged."""

import contextlib
from functools import partial

import psycopg
import pytest

from services.ingest import deferred, retrier
from shared.errors import Unavailable
from tests.support import messages
from tests.support.eventually import eventually
from tests.support.messages import FakeChannel, body, counted, dead_letters, rows, truth, validated

FULL = """
INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)
SELECT 'old' || n, 'not_json', '', '', '', '{}', 'open' FROM generate_series(1, 1000) n;
SELECT setval(pg_get_serial_sequence('dead_letter', 'id'), 1, false)
"""
REFUSED = """
CREATE FUNCTION their_filter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF {} THEN
        RAISE EXCEPTION 'not in this table' USING ERRCODE = 'ZZ999';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER their_filter BEFORE INSERT ON dead_letter
    FOR EACH ROW EXECUTE FUNCTION their_filter()
"""
ACCEPTED = "DROP FUNCTION their_filter CASCADE"
UNFIT = b"{"


class At:
    """The writer at work on a channel, one batch at a time."""

    def __init__(self, dsn: str, conn: psycopg.Connection) -> None:
        self.channel, self.tag = FakeChannel(), 0
        self.writer = messages.idle_writer(conn, self.channel)
        self.dsn = dsn

    def receive(self, *texts: bytes) -> list[int]:
        """Have messages without an identity come; returns their tags."""
        first = self.tag + 1
        for text in texts:
            self.tag += 1
            self.channel.receive(validated(text, tag=self.tag))
        return list(range(first, self.tag + 1))

    def settles(self, conn: psycopg.Connection) -> bool:
        """Go on; say whether all is acknowledged."""
        self.writer.run_once(conn)
        return self.channel.backlog.unacknowledged() == 0

    def acknowledged(self) -> set[int]:
        """Return which tags the broker would count as acknowledged."""
        return set(range(1, max(self.channel.acknowledged, default=0) + 1)) | set(
            self.channel.alone
        )


@pytest.fixture
def at(dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> At:
    monkeypatch.setattr(deferred, "RETRY_FIRST_S", 0.05)
    monkeypatch.setattr(deferred, "REST_PER_TRY", 1)
    messages.add_providers(conn)
    return At(dsn, conn)


def test_where_ids_of_dead_letters_were_loaded_by_hand_their_sequence_is_moved_on(
    at: At, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(FULL)
    at.receive(UNFIT, *(body(1, value) for value in range(50)), b"[]", b"\xff")
    at.writer.run_once(ours)
    assert len(rows(conn)) == 50
    assert [reason for reason, _, _ in dead_letters(conn)[1000:]] == [
        "not_json", "not_object", "not_utf8",
    ]  # fmt: skip
    assert at.acknowledged() == set(range(1, 54))
    assert len(at.channel.backlog.deferred.by_tag) == 0
    assert conn.execute("SELECT max(id) FROM dead_letter").fetchone() == (1003,)


def test_good_rows_are_stored_and_acknowledged_beside_a_dead_letter_that_cannot_be_written_yet(
    at: At, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(REFUSED.format("true"))
    good = at.receive(*(body(1, value) for value in range(3)))
    unfit = at.receive(UNFIT, body(99, 5))
    later = at.receive(body(1, 3))

    at.writer.run_once(ours)
    assert (len(rows(conn)), at.acknowledged()) == (4, {*good, *later})
    more = at.receive(body(1, 4), UNFIT)
    at.writer.run_once(ours)
    at.writer.run_once(ours)
    assert at.writer.health.problems()[retrier.PART].endswith("ZZ999: not in this table")
    assert (len(rows(conn)), at.acknowledged()) == (5, {*good, *later, more[0]})
    assert at.channel.backlog.unacknowledged() == 3
    assert dead_letters(conn) == []

    conn.execute(ACCEPTED)
    eventually(partial(at.settles, ours))
    assert sorted(reason for reason, _, _ in dead_letters(conn)) == [
        "not_json", "not_json", "unknown_provider",
    ]  # fmt: skip
    assert at.acknowledged() == {*good, *unfit, *later, *more}
    assert at.writer.health.problems() == {}
    at.receive(body(1, 6))
    at.writer.run_once(ours)
    assert at.channel.acknowledged == [at.tag], "all up to a tag again, as nothing is kept"
    assert counted(conn) == truth(conn)


def test_one_dead_letter_that_is_refused_does_not_keep_the_others_from_being_written(
    at: At, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(REFUSED.format("NEW.body = '[1]'"))
    tags = at.receive(UNFIT, b"[1]", b"[2]", body())
    at.writer.run_once(ours)
    assert [text for _, _, text in dead_letters(conn)] == [UNFIT, b"[2]"]
    assert at.acknowledged() == {*tags} - {2}
    assert len(rows(conn)) == 1


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE dead_letter RENAME TO elsewhere",
        "ALTER TABLE dead_letter RENAME COLUMN body TO theirs",
        "ALTER TABLE operator_action RENAME TO elsewhere",
        REFUSED.format("true").replace("RAISE EXCEPTION 'not in this table'", "RETURN NULL; --"),
        "CREATE RULE their_rule AS ON INSERT TO dead_letter DO INSTEAD NOTHING",
        "ALTER TABLE dead_letter ADD CHECK (false) NOT VALID",
        "ALTER TABLE dead_letter ALTER id DROP IDENTITY",
    ],
)
def test_whatever_is_in_the_way_of_a_dead_letter_good_rows_are_stored(
    change: str, at: At, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(change.encode())
    good = at.receive(body(1, 1), body(1, 2))
    at.receive(UNFIT)
    at.writer.run_once(ours)
    assert rows(conn) == [(1, 1), (1, 2)]
    assert at.acknowledged() == {*good}
    assert len(at.channel.backlog.deferred.by_tag) == 1


def test_a_lock_on_dead_letters_is_waited_for_beside_good_rows(
    dsn: str, at: At, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    ours.execute("SET lock_timeout = '100ms'")
    with psycopg.connect(dsn) as user:
        user.execute("LOCK TABLE dead_letter")
        at.receive(*(UNFIT + str(number).encode() for number in range(50)), body())
        at.writer.run_once(ours)
        assert rows(user) == [(1, 600)]
        at.writer.run_once(ours)
        assert "55P03" in at.writer.health.problems()[retrier.PART]
    eventually(partial(at.settles, ours))
    assert len(dead_letters(conn)) == 50


def test_a_message_that_is_never_ready_in_time_is_kept_and_those_behind_it_are_stored(
    at: At, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(
        "CREATE FUNCTION their_loop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.transaction_value = 3 THEN PERFORM pg_sleep(10); END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER their_loop BEFORE INSERT ON historical_transactions"
        " FOR EACH ROW EXECUTE FUNCTION their_loop()"
    )
    ours.execute("SET statement_timeout = '100ms'")
    tags = at.receive(*(body(1, value) for value in range(10)))

    def all_others() -> bool:
        with contextlib.suppress(Unavailable):
            at.writer.run_once(ours)
        return len(rows(conn)) == 9

    eventually(all_others)
    assert at.acknowledged() == {*tags} - {4}
    assert "57014" in at.writer.health.problems()[retrier.PART]
    conn.execute("DROP FUNCTION their_loop CASCADE")
    eventually(partial(at.settles, ours))
    assert sorted(value for _, value in rows(conn)) == list(range(10))
    assert dead_letters(conn) == []


def test_a_kept_message_of_a_channel_that_is_gone_is_the_brokers_again(
    at: At, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(REFUSED.format("true"))
    at.receive(UNFIT)
    at.writer.run_once(ours)
    at.channel.backlog.close()
    conn.execute(ACCEPTED)
    eventually(at.channel.backlog.deferred.due)
    at.writer.run_once(ours)
    assert (dead_letters(conn), at.acknowledged()) == ([], set())
    at.writer.backlog = FakeChannel().backlog
    at.writer.run_once(ours)
    assert at.writer.health.problems() == {}


def test_dead_letters_too_slow_together_are_written_in_parts(
    at: At, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(REFUSED.format("pg_sleep(0.02) IS NULL"))
    ours.execute("SET statement_timeout = '300ms'")
    at.receive(*(UNFIT + str(number).encode() for number in range(50)), body())
    eventually(partial(at.settles, ours), 30)
    assert len(dead_letters(conn)) == 50
    assert rows(conn) == [(1, 600)]
