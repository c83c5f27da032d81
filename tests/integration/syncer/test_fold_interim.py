"""Ticks that are prepared: written in part before their boundary, and shown as one at it."""

from collections.abc import Iterator
from datetime import datetime

import psycopg
import pytest
import redis
from prometheus_client import REGISTRY

from ops.balances import store as balances
from ops.repair import audit
from ops.status import store as status
from services.syncer import publish_store, trace_links
from services.syncer.service import Syncer
from shared.ledger import history
from tests.support import ledger, servers
from tests.support.ledger import add, minute
from tests.support.manual_changes import CHANGES, Change
from tests.support.servers import on_both_stores


@pytest.fixture
def visa(conn: psycopg.Connection) -> int:
    ledger.add_provider(conn, "Amex", 1)
    return ledger.add_provider(conn, "Visa", 1000)


@pytest.fixture
def syncer(
    dsn: str, visa: int, store: "redis.Redis", keydb_server: servers.Keydb
) -> Iterator[Syncer]:
    """A syncer that has shown a tick of both providers."""
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        assert ledger.shown(store)[f"{visa}_Visa"] == "1000"
        yield syncer


@pytest.fixture
def other(dsn: str, syncer: Syncer, keydb_server: servers.Keydb) -> Iterator[Syncer]:
    """A second syncer, beside the first one."""
    assert syncer.changed == 0
    with ledger.syncing(dsn, keydb_server.url()) as other:
        yield other


def prepare(syncer: Syncer) -> None:
    syncer.fold()
    syncer.prepare()


def interims(conn: psycopg.Connection) -> list[int]:
    """Return how many rows each interim tick counted."""
    query = "SELECT rows::int FROM tick WHERE interim ORDER BY epoch"
    return [rows for (rows,) in conn.execute(query)]


def republished() -> float:
    return REGISTRY.get_sample_value("minutebook_republished_total", {"cause": "behind"}) or 0.0


def test_what_is_written_before_the_boundary_is_shown_at_it_and_not_before(
    conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer, visa: int
) -> None:
    before, mark = ledger.shown(store), ledger.watermark(store)
    add(conn, visa, 5)
    prepare(syncer)
    add(conn, visa, 7)
    prepare(syncer)
    add(conn, visa, 11)
    assert (interims(conn), ledger.balances(conn)[f"{visa}_Visa"]) == ([1, 1], "1012")
    assert (ledger.shown(store), ledger.watermark(store)) == (before, mark)

    syncer.tick(minute(2))

    assert ledger.newest(conn)[1:] == (1, 11)
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


@on_both_stores
@pytest.mark.parametrize("changes", CHANGES, ids=lambda pair: "-".join(c.__name__ for c in pair))
def test_whatever_changes_before_and_after_it_keydb_shows_the_truth_at_the_boundary(
    conn: psycopg.Connection,
    store: "redis.Redis",
    syncer: Syncer,
    visa: int,
    changes: tuple[Change, Change],
) -> None:
    first, then = changes
    first(conn, visa)
    prepare(syncer)
    then(conn, visa)
    syncer.tick(minute(2))
    ledger.assert_right(conn, store)
    syncer.tick(minute(3))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def test_an_interim_tick_of_a_syncer_that_died_is_shown_by_the_next_one(
    conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer, other: Syncer, visa: int
) -> None:
    add(conn, visa, 5)
    prepare(syncer)
    other.fold()
    assert (
        other.publisher.publish().behind is False
    )  # what is due is shown: an interim tick is not due
    assert ledger.shown(store)[f"{visa}_Visa"] == "1000"
    other.tick(minute(2))
    assert ledger.shown(store)[f"{visa}_Visa"] == "1005"
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def test_a_syncer_that_slept_since_its_fold_writes_no_interim_tick_on_top_of_anothers(
    conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer, other: Syncer, visa: int
) -> None:
    add(conn, visa, 5)
    syncer.fold()
    prepare(other)
    syncer.prepare()
    assert interims(conn) == [1]
    assert syncer.fold().overtaken
    other.tick(minute(2))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def test_a_boundary_that_comes_again_after_an_interim_tick_is_the_one_that_is_written(
    conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer, visa: int
) -> None:
    add(conn, visa, 5)
    prepare(syncer)
    assert syncer.tick(minute(1)).state == "done"
    assert ledger.shown(store)[f"{visa}_Visa"] == "1000"
    syncer.tick(minute(2))
    ledger.assert_counted_once(conn)
    ledger.assert_right(conn, store)


def test_where_nothing_has_changed_nothing_is_prepared(
    conn: psycopg.Connection, syncer: Syncer, visa: int
) -> None:
    prepare(syncer)
    syncer.prepare()
    assert interims(conn) == []
    add(conn, visa, 5)
    prepare(syncer)
    syncer.tick(minute(2))
    prepare(syncer)
    assert interims(conn) == [1]


def test_a_store_that_was_emptied_meanwhile_is_sent_everything(
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    syncer: Syncer,
    visa: int,
) -> None:
    add(conn, visa, 5)
    prepare(syncer)
    ledger.flush(keydb_server)()
    syncer.tick(minute(2))
    ledger.assert_right(conn, store)


def test_a_store_away_at_the_boundary_has_missed_no_tick_by_an_interim_one(
    conn: psycopg.Connection, store: "redis.Redis", syncer: Syncer, visa: int
) -> None:
    add(conn, visa, 5)
    prepare(syncer)
    add(conn, visa, 7)
    before = republished()
    conn.execute("BEGIN")
    ledger.tick_within(conn, minute(2))  # written, not shown
    conn.execute("COMMIT")
    assert syncer.publisher.publish().state == "applied"
    assert republished() == before
    ledger.assert_right(conn, store)
    for number in (3, 4):
        add(conn, visa, 1)
        conn.execute("BEGIN")
        ledger.tick_within(conn, minute(number))
        conn.execute("COMMIT")
    syncer.publisher.publish()
    assert republished() == before + 1


def test_one_audit_covers_the_tick_and_what_was_written_before_its_boundary(
    conn: psycopg.Connection, syncer: Syncer, visa: int
) -> None:
    add(conn, visa, 5)
    prepare(syncer)
    add(conn, visa, 7)
    syncer.tick(minute(2))

    done = audit.audit(conn, boundary=minute(2))
    assert done.clean
    assert (done.rows, done.amount, done.tick.rows) == (2, 12, 2)
    conn.execute("UPDATE balance SET balance = balance + 1 WHERE epoch = 3")
    assert not audit.audit(conn, boundary=minute(2)).clean


def test_history_knows_boundaries_only(conn: psycopg.Connection, syncer: Syncer, visa: int) -> None:
    add(conn, visa, 5)
    prepare(syncer)
    assert history.balance_at(conn, visa, minute(1)).balance == 1000
    assert history.balance_at(conn, visa, datetime.max.replace(tzinfo=minute(1).tzinfo)).epoch == 1
    syncer.tick(minute(2))
    assert history.balance_at(conn, visa, minute(2)).balance == 1005
    assert publish_store.interval_s(conn) == 60


def test_operators_see_the_tick_that_is_shown(
    conn: psycopg.Connection, syncer: Syncer, visa: int
) -> None:
    add(conn, visa, 5)
    prepare(syncer)
    found = {one.provider_id: one for one in balances.newest(conn)}
    assert (found[visa].balance, found[visa].uncounted) == (1000, 5)
    last = status.read(conn).tick
    assert last
    assert (last.epoch, last.boundary) == (1, minute(1))


def test_a_tick_is_traced_to_what_its_interim_ticks_counted(
    conn: psycopg.Connection, syncer: Syncer, visa: int
) -> None:
    add(conn, visa, 5)
    conn.execute("UPDATE outbox SET traceparent = 'from the interim one' WHERE amount = 5")
    prepare(syncer)
    syncer.tick(minute(2))
    assert trace_links.traceparents(conn, minute(2)) == ["from the interim one"]
