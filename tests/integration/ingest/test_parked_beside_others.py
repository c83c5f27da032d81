"""Parked messages while somebody else releases, reads or deletes them at the same time."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import LiteralString

import psycopg
import pytest

from services.ingest import parked
from tests.support import locks, messages
from tests.support.concurrently import at_once
from tests.support.messages import counted, dead_letters, rows, truth
from tests.support.parked_messages import ADD, wait_for_99

pytestmark = pytest.mark.usefixtures("providers")


@contextlib.contextmanager
def held_up(dsn: str, conn: psycopg.Connection, lock: LiteralString) -> Iterator[Future[int]]:
    """Have parked messages released, which waits for somebody's `lock` while inside."""
    with (
        psycopg.connect(dsn) as other,
        messages.ingest_connection(dsn) as releasing,
        ThreadPoolExecutor(1) as pool,
    ):
        other.execute(lock)
        released = pool.submit(messages.release_parked, releasing)
        try:
            locks.awaited(conn)
            yield released
        finally:
            other.rollback()


def test_two_replicas_release_each_message_once(dsn: str, ours: psycopg.Connection) -> None:
    wait_for_99(ours, *[None] * 200)
    ours.execute(ADD)
    with messages.ingest_connection(dsn) as other:
        released = at_once(
            lambda: messages.release_parked(ours), lambda: messages.release_parked(other)
        )
    assert sum(released) == 200
    assert rows(ours) == [(99, value) for value in range(1, 201)]
    assert counted(ours) == truth(ours)


def test_one_replica_at_a_time_releases_a_provider(dsn: str, ours: psycopg.Connection) -> None:
    wait_for_99(ours, "a", "b")
    ours.execute(ADD)
    with psycopg.connect(dsn) as other:
        other.execute(parked.TRY_LOCK_PROVIDER, {"provider_id": 99})
        assert messages.release_parked(ours) == 0
    assert messages.release_parked(ours) == 2


def test_a_row_is_not_seen_before_its_dead_letter_is_gone(
    dsn: str, ours: psycopg.Connection
) -> None:
    wait_for_99(ours, "m1", "m2")
    ours.execute(ADD)
    # It is read, and nothing goes.
    with held_up(dsn, ours, "LOCK TABLE dead_letter IN SHARE MODE") as released:
        assert (rows(ours), len(dead_letters(ours))) == ([], 2)
    assert released.result() == 2
    assert (rows(ours), dead_letters(ours)) == ([(99, 1), (99, 2)], [])


def test_one_that_becomes_a_row_cannot_be_deleted_as_one_that_never_will(
    dsn: str, conn: psycopg.Connection, ours: psycopg.Connection
) -> None:
    wait_for_99(ours, "m1", "m2")
    ours.execute(ADD)
    provider = "SELECT FROM initial_data WHERE id = 99 FOR UPDATE"  # its rows wait for that
    with ThreadPoolExecutor(1) as pool, held_up(dsn, ours, provider) as released:
        deleted = pool.submit(lambda: conn.execute("DELETE FROM dead_letter").rowcount)
        locks.awaited(ours, 2)
    assert (released.result(), deleted.result()) == (2, 0)
    assert rows(ours) == [(99, 1), (99, 2)]


def test_one_that_is_being_deleted_waits_for_nobody_and_becomes_no_row(
    dsn: str, ours: psycopg.Connection
) -> None:
    wait_for_99(ours, "m1", "m2")
    ours.execute(ADD)
    ours.execute("SET lock_timeout = '5s'")
    with psycopg.connect(dsn) as other:
        other.execute("DELETE FROM dead_letter WHERE message_id = 'm1'")
        assert messages.release_parked(ours) == 1
        assert rows(ours) == [(99, 2)]
    assert messages.release_parked(ours) == 0
    assert (rows(ours), dead_letters(ours)) == ([(99, 2)], [])
