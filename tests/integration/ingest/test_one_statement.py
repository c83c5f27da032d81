"""An ordinary batch is one statement that commits by itself, and stores each message or none."""

import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from services.ingest import service, writer
from services.ingest.core import Transaction, Validated, is_ordinary
from services.ingest.writer import Writer
from shared.errors import Unavailable
from tests.support import locks, messages
from tests.support.concurrently import at_once
from tests.support.messages import (
    FakeChannel,
    body,
    counted,
    dead_letters,
    idle_writer,
    reasons,
    rows,
    truth,
    validated,
)

pytestmark = pytest.mark.usefixtures("providers")

SCANNED = """
SELECT pg_stat_get_xact_numscans('initial_data'::regclass),
       pg_stat_get_xact_numscans('initial_data_pkey'::regclass)
"""

SWALLOWS = """
CREATE FUNCTION their_filter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.transaction_value = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER their_filter BEFORE INSERT ON historical_transactions
    FOR EACH ROW EXECUTE FUNCTION their_filter()
"""
REWRITES = SWALLOWS.replace("RETURN NULL", "NEW.transaction_value := 5; RETURN NEW")
REFUSES = SWALLOWS.replace("RETURN NULL", "RAISE 'no'")
REFUSES_AT_COMMIT = REFUSES.replace(
    "TRIGGER their_filter BEFORE", "CONSTRAINT TRIGGER t AFTER"
).replace("    FOR", "    DEFERRABLE INITIALLY DEFERRED FOR")


@pytest.fixture
def channel() -> FakeChannel:
    return FakeChannel()


@pytest.fixture
def ours_writer(ours: psycopg.Connection, channel: FakeChannel) -> Writer:
    return idle_writer(ours, channel)


def named(*values: int, provider: int = 1) -> list[Validated]:
    """Return messages that carry an identity made of their value."""
    return [validated(body(provider, value), f"m{value}", tag=value) for value in values]


def transactions(batch: list[Validated]) -> list[Transaction]:
    assert is_ordinary(batch)
    return list(batch)


def round_trips(conn: psycopg.Connection, file: Path, call: Callable[[], None]) -> int:
    """Return how often the server is waited for during `call`: libpq notes each Sync."""
    with file.open("w") as trace:
        conn.pgconn.trace(trace.fileno())
        call()
        conn.pgconn.untrace()
        os.fsync(trace.fileno())
    return len(re.findall(r"\tF\t\d+\t(?:Sync|Query)", file.read_text()))


def test_an_ordinary_batch_is_one_round_trip(
    ours: psycopg.Connection, ours_writer: Writer, channel: FakeChannel, tmp_path: Path
) -> None:
    for first in (1, 11, 21):  # the third one is prepared
        channel.receive(*named(first, first + 1))
        ours_writer.run_once(ours)
    channel.receive(*named(31, 32, 33))
    assert round_trips(ours, tmp_path / "trace", lambda: ours_writer.run_once(ours)) == 1
    assert channel.acknowledged[-1] == 33
    assert sorted(value for _, value in rows(ours)) == [1, 2, 11, 12, 21, 22, 31, 32, 33]
    assert counted(ours) == truth(ours)


@pytest.mark.parametrize("change", [SWALLOWS, REWRITES, REFUSES, REFUSES_AT_COMMIT])
def test_what_a_trigger_swallows_rewrites_or_refuses_makes_the_statement_store_nothing(
    change: str, ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    conn.execute(change.encode())
    before = counted(conn)
    for _ in range(4):  # also once it is prepared
        with pytest.raises(service.NotOrdinary):
            service.store_ordinary_batch(ours, transactions(named(1, 2, 3)))
    assert (rows(conn), counted(conn)) == ([], before)


@pytest.mark.parametrize(("end", "stored"), [("COMMIT", [(2, 2)]), ("ROLLBACK", [(1, 1), (1, 2)])])
def test_a_replica_that_is_storing_the_same_identity_is_waited_for(
    end: str, stored: list[tuple[int, int]], dsn: str, ours: psycopg.Connection
) -> None:
    with psycopg.connect(dsn) as other, ThreadPoolExecutor(1) as pool:
        other.execute(
            "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
            " VALUES (2, 2, 'm1')"
        )
        attempt = pool.submit(service.store_ordinary_batch, ours, transactions(named(1, 2)))
        with psycopg.connect(dsn, autocommit=True) as looking:
            locks.awaited(looking)
        other.execute(end.encode())
        failed = isinstance(attempt.exception(60), service.NotOrdinary)
    assert (failed, rows(ours)) == (end == "COMMIT", stored)
    assert counted(ours) == truth(ours)


@pytest.mark.parametrize("trouble", ["timeout", "terminated"])
def test_one_that_runs_out_of_time_or_loses_its_connection_stores_nothing_and_is_kept(
    trouble: str,
    dsn: str,
    ours: psycopg.Connection,
    ours_writer: Writer,
    channel: FakeChannel,
) -> None:
    channel.receive(*named(1, 2))
    with psycopg.connect(dsn) as other, ThreadPoolExecutor(1) as pool:
        other.execute("LOCK TABLE historical_transactions IN EXCLUSIVE MODE")
        if trouble == "timeout":
            ours.execute("SET statement_timeout = 200")
        attempt = pool.submit(ours_writer.run_once, ours)
        if trouble == "terminated":
            locks.awaited(other)
            other.execute("SELECT pg_terminate_backend(%s)", (ours.info.backend_pid,))
        assert isinstance(attempt.exception(60), Unavailable)
    assert (channel.acknowledged, channel.backlog.unacknowledged()) == ([], 2)
    with messages.ingest_connection(dsn) as again:
        for _ in range(2):
            ours_writer.run_once(again)
        assert rows(again) == [(1, 1), (1, 2)]
        assert counted(again) == truth(again)


def test_replicas_with_the_same_messages_in_another_order_store_each_once(
    dsn: str, ours: psycopg.Connection
) -> None:
    batches = [named(*range(1, 400)), named(*range(399, 0, -1))]
    channels = [FakeChannel(), FakeChannel()]
    with messages.ingest_connection(dsn) as other:
        writers = [idle_writer(ours, channels[0]), idle_writer(other, channels[1])]
        for channel, batch in zip(channels, batches, strict=True):
            channel.receive(*batch)
        at_once(lambda: writers[0].run_once(ours), lambda: writers[1].run_once(other))
    assert [one.backlog.unacknowledged() for one in channels] == [0, 0]
    assert sorted(rows(ours)) == [(1, value) for value in range(1, 400)]
    assert dead_letters(ours) == []
    assert counted(ours) == truth(ours)


@pytest.mark.parametrize(
    "odd", [named(1), [validated(body(2, 9), "m1", tag=9)], named(9, provider=99)]
)
def test_one_that_is_there_already_or_has_no_provider_makes_the_statement_store_nothing(
    odd: list[Validated], ours: psycopg.Connection, conn: psycopg.Connection
) -> None:
    service.store_ordinary_batch(ours, transactions(named(1)))
    before = counted(conn)
    with pytest.raises(service.NotOrdinary):
        service.store_ordinary_batch(ours, transactions([*named(2), *odd, *named(3)]))
    assert (rows(conn), counted(conn)) == ([(1, 1)], before)


def test_what_is_not_ordinary_is_stored_by_a_transaction_and_each_message_ends_as_it_should(
    ours: psycopg.Connection, ours_writer: Writer, channel: FakeChannel, conn: psycopg.Connection
) -> None:
    channel.receive(*named(1))
    ours_writer.run_once(ours)
    conflicting = validated(body(2, 9), "m1", tag=4)
    channel.receive(*named(1, 2, 3), conflicting, *named(9, provider=99))
    ours_writer.run_once(ours)
    assert sorted(rows(conn)) == [(1, 1), (1, 2), (1, 3)]
    assert sorted(reasons(conn)) == ["id_conflict", "unknown_provider"]
    assert channel.backlog.unacknowledged() == 0
    assert counted(conn) == truth(conn)


def test_after_a_repetition_all_take_the_way_of_a_transaction_for_a_while(
    ours: psycopg.Connection,
    ours_writer: Writer,
    channel: FakeChannel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "PAUSE_PER_FAILURE", 1_000_000)

    def trips(*values: int) -> int:
        channel.receive(*named(*values))
        return round_trips(ours, tmp_path / "trace", lambda: ours_writer.run_once(ours))

    trips(1)
    trips(1, 2)
    assert trips(3) > 1
    ours_writer = idle_writer(ours, channel)
    assert trips(4) == 1
    assert sorted(rows(ours)) == [(1, 1), (1, 2), (1, 3), (1, 4)]
    assert dead_letters(ours) == []


@pytest.mark.parametrize("identity", ["m1", None])
def test_a_batch_whose_channel_is_gone_before_it_was_sent_is_left_to_the_broker(
    ours: psycopg.Connection, ours_writer: Writer, channel: FakeChannel, identity: str | None
) -> None:
    channel.receive(validated(body(1, 1), identity, tag=1))
    channel.backlog.open = False  # the receiving thread has just noticed
    ours_writer.run_once(ours)
    assert (channel.acknowledged, rows(ours)) == ([], [])


def test_only_named_messages_that_come_for_the_first_time_and_differ_are_ordinary() -> None:
    assert is_ordinary(named(1, 2))
    again = named(2)[0]
    again = again._replace(delivery=again.delivery._replace(redelivered=True))  # type: ignore[union-attr]
    for odd in (again, validated(body(1, 2), tag=2), validated(b"{", "m2"), *named(1)):
        assert not is_ordinary([*named(1), odd])


def test_few_providers_are_not_read_one_and_all_for_each_row_of_a_batch(
    conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    conn.execute(
        "INSERT INTO initial_data (id, provider_name, initial_value)"
        " SELECT n, 'Card ' || n, 0 FROM generate_series(100, 299) AS n"
    )
    conn.execute("ANALYZE initial_data")
    with ours.transaction():
        service.store_ordinary_batch(ours, transactions(named(*range(1, 21), provider=150)))
        whole, by_index = ours.execute(SCANNED).fetchone() or (0, 0)
    assert whole == 0
    assert by_index >= 20
