"""Three accounts at one snapshot: silent when all is right, exact when one of them is not."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import LiteralString

import psycopg
import pytest
import redis
from pydantic import Secret

from services.syncer import reconcile
from services.syncer import store as sql
from services.syncer.core import Found, Unanswerable
from services.syncer.drift import KeydbDrift, LedgerDrift, Report
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY, Moved, Projection
from services.syncer.service import Syncer
from shared import keydb, postgres
from shared.settings import PostgresSettings
from tests.support import ledger, servers
from tests.support.ledger import add, minute
from tests.support.proxy import proxying


@pytest.fixture
def ours(dsn: str) -> Iterator[psycopg.Connection]:
    """A connection with the syncer's own options, which avoid sequential scans."""
    settings = PostgresSettings(postgres_dsn=Secret(dsn))
    with postgres.connection(settings, application="test", options=sql.OPTIONS) as conn:
        yield conn


@pytest.fixture
def projection(store: "redis.Redis", keydb_server: servers.Keydb) -> Iterator[Projection]:
    with ledger.projecting(keydb_server.url()) as projection:
        yield projection


@pytest.fixture
def syncer(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> Iterator[Syncer]:
    """A syncer over providers 1 Visa (1000 + 300) and 2 Mastercard (2000 - 200), shown."""
    ledger.add_provider(conn, "Visa", 1000)
    ledger.add_provider(conn, "Mastercard", 2000)
    for provider, value in ((1, 100), (1, 200), (2, -200)):
        add(conn, provider, value)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
        yield syncer


def behind_the_triggers(conn: psycopg.Connection, statement: LiteralString) -> None:
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute(statement)


def ids(report: Report) -> set[int]:
    return {one.provider_id for one in report.ledger.drifts}


def test_right_accounts_agree_before_and_after_a_tick(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer, projection: Projection
) -> None:
    report = reconcile.run(ours, projection)
    assert (report.drifting, report.keydb.state, report.keydb.keys) == (0, "compared", 2)
    assert (report.ledger.epoch, report.ledger.providers, report.ledger.transactions) == (1, 2, 3)
    add(conn, 1, 5)
    conn.execute("UPDATE initial_data SET provider_name = 'MC' WHERE id = 2")
    ledger.add_provider(conn, "New", 9)
    assert reconcile.run(ours, projection).drifting == 0
    syncer.fold()
    syncer.tick(minute(2))
    assert reconcile.run(ours, projection).drifting == 0


def test_the_connection_is_left_as_it_was(
    ours: psycopg.Connection, syncer: Syncer, projection: Projection
) -> None:
    query = "SELECT name, setting FROM pg_settings ORDER BY 1"
    before = ours.execute(query).fetchall()
    reconcile.run(ours, projection)
    assert ours.execute(query).fetchall() == before


@pytest.mark.parametrize(
    ("statement", "drift"),
    [
        (
            "INSERT INTO historical_transactions (provider_id, transaction_value) VALUES (1, 9)",
            LedgerDrift(1, 1309, 1300, 0, "1_Visa", "1_Visa"),
        ),
        (
            "DELETE FROM historical_transactions WHERE provider_id = 2",
            LedgerDrift(2, 2000, 1800, 0, "2_Mastercard", "2_Mastercard"),
        ),
        (
            "UPDATE initial_data SET initial_value = NULL WHERE id = 2",
            LedgerDrift(2, -200, 1800, 0, "2_Mastercard", "2_Mastercard"),
        ),
        (
            "UPDATE initial_data SET provider_name = 'V' WHERE id = 1",
            LedgerDrift(1, 1300, 1300, 0, "1_V", "1_Visa"),
        ),
        ("INSERT INTO initial_data VALUES (3, 'Amex', 0)", LedgerDrift(3, 0, 0, 0, "3_Amex", None)),
        (
            "DELETE FROM initial_data WHERE id = 1",
            LedgerDrift(1, 300, 1300, 0, None, "1_Visa"),
        ),
        (
            "UPDATE balance SET balance = 7 WHERE provider_id = 1",
            LedgerDrift(1, 1300, 7, 0, "1_Visa", "1_Visa"),
        ),
        (
            "INSERT INTO outbox (provider_id, amount, operation) VALUES (2, 40, 'added')",
            LedgerDrift(2, 1800, 1800, 40, "2_Mastercard", "2_Mastercard"),
        ),
        (
            "INSERT INTO balance VALUES (77, 1, '77_x', true, 5)",
            LedgerDrift(77, 0, 5, 0, None, "77_x"),
        ),
    ],
)
def test_a_ledger_that_is_not_what_the_tables_say_is_named_with_its_legs(
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    syncer: Syncer,
    statement: LiteralString,
    drift: LedgerDrift,
) -> None:
    nullable = "ALTER TABLE initial_data ALTER COLUMN initial_value DROP NOT NULL"
    conn.execute(nullable)
    behind_the_triggers(conn, statement)
    report = reconcile.run(ours, None)
    assert report.ledger.drifts == (drift,)
    assert report.ledger.drifting == {drift.provider_id}
    assert (report.drifting, report.keydb.state) == (1, "not_asked")


@pytest.mark.parametrize(
    ("command", "drifts"),
    [
        (("SET", "1_Visa", "1"), {KeydbDrift("1_Visa", "1300", "1", listed=True)}),
        (("DEL", "1_Visa"), {KeydbDrift("1_Visa", "1300", None, listed=True)}),
        (("SADD", KEYS_KEY, "9_Gone"), {KeydbDrift("9_Gone", None, None, listed=True)}),
        (("SREM", KEYS_KEY, "1_Visa"), {KeydbDrift("1_Visa", "1300", "1300", listed=False)}),
        (("MSET", "1_Visa", "x", "y", "z"), {KeydbDrift("1_Visa", "1300", "x", listed=True)}),
        (("DEL", KEYS_KEY), {
            KeydbDrift("1_Visa", "1300", "1300", listed=False),
            KeydbDrift("2_Mastercard", "1800", "1800", listed=False),
        }),
    ],
)  # fmt: skip
def test_a_key_that_is_not_what_its_tick_wrote_is_named(
    ours: psycopg.Connection,
    syncer: Syncer,
    store: "redis.Redis",
    projection: Projection,
    *,
    command: tuple[str, ...],
    drifts: set[KeydbDrift],
) -> None:
    store.execute_command(*command)  # type: ignore[no-untyped-call]
    report = reconcile.run(ours, projection)
    assert set(report.keydb.drifts) == drifts
    assert report.keydb.drifting == {one.key for one in drifts}
    assert report.drifting == len(drifts)
    assert not report.ledger.drifting


def test_a_store_that_is_behind_is_held_against_the_tick_it_shows(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer, projection: Projection
) -> None:
    add(conn, 1, 5)
    with conn.transaction():
        ledger.tick_within(conn, minute(2))  # not published
    report = reconcile.run(ours, projection)
    assert (report.drifting, report.keydb.epoch, report.ledger.epoch) == (0, 1, 2)


@pytest.mark.parametrize("token", ["", "of-another-life", "partial:x"])
def test_a_store_that_shows_no_tick_of_ours_is_not_compared(
    ours: psycopg.Connection,
    syncer: Syncer,
    store: "redis.Redis",
    projection: Projection,
    token: str,
) -> None:
    store.hset(WATERMARK_KEY, "token", token)
    store.set("1_Visa", "wrong")
    report = reconcile.run(ours, projection)
    assert (report.keydb.state, report.drifting) == ("unknown", 0)


def test_a_store_that_is_away_leaves_the_accounts_in_postgres_to_be_compared(
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    syncer: Syncer,
    keydb_server: servers.Keydb,
) -> None:
    conn.execute("UPDATE balance SET balance = 7 WHERE provider_id = 1")
    with proxying(keydb_server.url()) as (proxy, url), ledger.keydb_client(url) as client:
        with proxy.down():
            report = reconcile.run(ours, Projection(client))
        assert (report.keydb.state, ids(report)) == ("unreachable", {1})


class Restless(Projection):
    """Publishes a tick whenever the store is about to be read."""

    def __init__(self, client: keydb.Client, syncer: Syncer, *, times: int) -> None:
        super().__init__(client)
        self._syncer = syncer
        self._left = times
        self._minute = 1

    def keys(self, found: Found) -> set[str]:
        if self._left:
            self._left -= 1
            self._minute += 1
            self._syncer.tick(minute(self._minute))
        return super().keys(found)


@pytest.mark.parametrize(("times", "state"), [(1, "compared"), (4, "compared"), (5, "moving")])
def test_a_store_that_is_published_to_meanwhile_is_read_again_and_never_mixed(
    ours: psycopg.Connection,
    syncer: Syncer,
    keydb_server: servers.Keydb,
    *,
    times: int,
    state: str,
) -> None:
    with ledger.keydb_client(keydb_server.url()) as client:
        report = reconcile.run(ours, Restless(client, syncer, times=times))
    assert (report.keydb.state, report.drifting) == (state, 0)


def test_a_watermark_that_changes_between_two_parts_is_noticed(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    syncer: Syncer,
    projection: Projection,
) -> None:
    conn.execute(
        "INSERT INTO initial_data (provider_name, initial_value)"
        " SELECT 'p', v FROM generate_series(1, 2500) v"
    )
    syncer.tick(minute(2))
    assert reconcile.run(ours, projection).keydb.keys == 2502
    found = projection.read()
    parts = projection.values(found, sorted(sql.everything(conn, 2)))
    assert len(next(parts)) == 1000
    syncer.tick(minute(3))
    with pytest.raises(Moved):
        next(parts)


def test_in_a_cluster_to_which_the_database_has_just_moved_there_is_no_answer(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer
) -> None:
    conn.execute("UPDATE tick SET system_identifier = system_identifier - 1")
    with pytest.raises(Unanswerable, match="another cluster"):
        reconcile.run(ours, None)


def test_beside_writers_ticks_and_open_transactions_nothing_ever_seems_to_drift(
    dsn: str,
    ours: psycopg.Connection,
    conn: psycopg.Connection,
    syncer: Syncer,
    projection: Projection,
) -> None:
    stop = threading.Event()

    def write(first: int) -> None:
        with psycopg.connect(dsn, autocommit=True) as writer:
            number = first
            while not stop.is_set():
                number += 1
                with writer.transaction(force_rollback=number % 3 == 0):
                    add(writer, 1 + number % 2, number)
                    writer.execute(
                        "UPDATE initial_data SET provider_name = %s WHERE id = %s",
                        [f"n{number}", 1 + number % 2],
                    )
                    writer.execute("DELETE FROM historical_transactions WHERE id % 7 = 0")

    def tick() -> int:
        number = 1
        while not stop.is_set():
            syncer.fold()
            number += 1
            syncer.tick(minute(number))
        return number

    with ThreadPoolExecutor(3) as pool, psycopg.connect(dsn) as open_one:
        add(open_one, 1, 1000)
        writers = [pool.submit(write, 0), pool.submit(write, 1)]
        ticks = pool.submit(tick)
        try:
            reports = [reconcile.run(ours, projection) for _ in range(40)]
        finally:
            stop.set()
        for writer in writers:
            writer.result(timeout=20)
        assert ticks.result(timeout=20) > 5
    assert [(one.ledger.drifts, one.keydb.drifts) for one in reports if one.drifting] == []
    assert "compared" in {one.keydb.state for one in reports}


def test_ten_thousand_drifts_are_counted_and_the_first_thousand_described(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer
) -> None:
    behind_the_triggers(
        conn,
        "INSERT INTO initial_data (provider_name, initial_value)"
        " SELECT 'p', v FROM generate_series(1, 10000) v",
    )
    report = reconcile.run(ours, None)
    assert (report.drifting, len(report.ledger.drifts)) == (10_000, 1000)


def test_only_the_history_is_read_from_end_to_end(
    ours: psycopg.Connection, conn: psycopg.Connection, syncer: Syncer
) -> None:
    conn.execute(
        "INSERT INTO historical_transactions (provider_id, transaction_value)"
        " SELECT 1 + v % 2, 1 FROM generate_series(1, 200000) v"
    )
    syncer.tick(minute(2))
    conn.execute("ANALYZE")
    with ours.transaction():
        ours.execute(reconcile.FOR_THE_WHOLE_HISTORY)
        query = "EXPLAIN (ANALYZE) " + reconcile.SELECT_LEDGER
        plan = [line for (line,) in ours.execute(query, {"drifts_max": 10})]
    text = "\n".join(plan)
    assert "Seq Scan on historical_transactions" in text
    read = [line for line in plan if "Seq Scan on outbox" in line and "rows=0" not in line[40:]]
    assert read == [], text
