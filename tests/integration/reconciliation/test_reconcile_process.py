"""The syncer's own reconciliation: every so many ticks, seen in metric and log, in nobody's way."""

import threading
from functools import partial

import psycopg
import pytest
import redis
import structlog
from prometheus_client import REGISTRY
from pydantic import Secret

from reconciliation.reconciler import LINES_MAX, Reconciler
from shared import postgres, worker
from shared.health import Health
from shared.settings import PostgresSettings
from tests.support import ledger, programs, servers
from tests.support.eventually import eventually
from tests.support.ledger import add, minute

Environment = dict[str, str]
CLEAN, DRIFT, FAILED = (
    f'minutebook_reconciliations_total{{outcome="{one}"}}' for one in ("clean", "drift", "failed")
)


@pytest.fixture
def environment(environment: Environment) -> Environment:
    return environment | {"RECONCILE_EVERY_TICKS": "1"}


@pytest.fixture
def reconciler(dsn: str, keydb_server: servers.Keydb, stop: threading.Event) -> Reconciler:
    return Reconciler(
        partial(
            postgres.connection,
            PostgresSettings(postgres_dsn=Secret(dsn)),
            application="reconciler",
            options="-c lock_timeout=0",
        ),
        lambda: ledger.projecting(keydb_server.url()),
        1,
        stop,
    )


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


def hide(conn: psycopg.Connection, rows: int = 1) -> None:
    """Change initial values where no trigger sees it."""
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute("UPDATE initial_data SET initial_value = 7 WHERE id <= %s", [rows])


def waits(conn: psycopg.Connection) -> bool:
    row = conn.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'minutebook-reconciler' AND wait_event_type = 'Lock'"
    ).fetchone()
    return row != (0,)


def test_drift_shows_in_metric_and_log_and_is_gone_after_a_repair_elsewhere(
    environment: Environment, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with (
        programs.running("services.syncer", **environment) as syncer,
        programs.running("services.ticker", **environment),
    ):
        eventually(lambda: syncer.metric(CLEAN) > 1)
        assert syncer.metric("minutebook_drift_providers") == 0
        eventually(lambda: '"event": "reconciled"' in syncer.logs())
        hide(conn)
        eventually(lambda: syncer.metric("minutebook_drift_providers") == 1)
        eventually(lambda: '"missing": -993' in syncer.logs())
        eventually(lambda: syncer.metric(DRIFT) > 0)
        eventually(lambda: syncer.metric("minutebook_reconcile_seconds_count") > 2)
        conn.execute("UPDATE initial_data SET initial_value = 8")  # triggers see 7 become 8
        with conn.transaction():
            conn.execute("SET LOCAL session_replication_role = replica")
            conn.execute("UPDATE initial_data SET initial_value = 1001")
        eventually(lambda: syncer.metric("minutebook_drift_providers") == 0)
        assert syncer.stop() == 0


def test_with_0_it_never_reconciles(environment: Environment, conn: psycopg.Connection) -> None:
    environment["RECONCILE_EVERY_TICKS"] = "0"
    with (
        programs.running("services.syncer", **environment) as syncer,
        programs.running("services.ticker", **environment),
    ):
        eventually(lambda: ledger.newest(conn)[0] > 3)
        assert '"reconciled"' not in syncer.logs()
        assert syncer.stop() == 0


def test_while_a_reconciliation_has_to_wait_ticks_go_on_and_sigterm_ends_it(
    dsn: str, environment: Environment, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with (
        programs.running("services.syncer", **environment) as syncer,
        programs.running("services.ticker", **environment),
        psycopg.connect(dsn) as holder,
    ):
        eventually(lambda: syncer.metric(CLEAN) > 0)
        holder.execute("LOCK TABLE historical_transactions IN ACCESS EXCLUSIVE MODE")
        eventually(lambda: waits(conn))
        first = ledger.newest(conn)[0]
        conn.execute("UPDATE initial_data SET initial_value = 5")
        eventually(lambda: ledger.newest(conn)[0] > first + 3)
        assert ledger.shown(store) == {"1_Visa": "5"}
        eventually(lambda: waits(conn))  # it is still under way
        assert syncer.stop() == 0
        eventually(lambda: not waits(conn))


def test_a_reconciliation_under_way_is_cancelled_when_the_syncer_stops(
    dsn: str, conn: psycopg.Connection, reconciler: Reconciler, stop: threading.Event
) -> None:
    with (
        psycopg.connect(dsn) as holder,
        worker.running("reconciler", reconciler.live, stop, Health()) as ended,
    ):
        holder.execute("LOCK TABLE historical_transactions IN ACCESS EXCLUSIVE MODE")
        reconciler.ticked()
        eventually(lambda: waits(conn))
        stop.set()
        eventually(ended.is_set)


def test_one_that_fails_says_so_and_the_next_one_is_as_any_other(
    conn: psycopg.Connection, reconciler: Reconciler, store: "redis.Redis"
) -> None:
    conn.execute("ALTER TABLE historical_transactions RENAME COLUMN transaction_value TO v")
    before = REGISTRY.get_sample_value(FAILED.partition("{")[0], {"outcome": "failed"}) or 0.0
    with structlog.testing.capture_logs() as logs:
        assert reconciler.run_once() is None
    assert [one["event"] for one in logs] == ["reconciliation_failed"]
    after = REGISTRY.get_sample_value(FAILED.partition("{")[0], {"outcome": "failed"})
    assert after == before + 1
    conn.execute("ALTER TABLE historical_transactions RENAME COLUMN v TO transaction_value")
    report = reconciler.run_once()
    assert report
    assert report.drifting == 0


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("ALTER TABLE tick RENAME TO theirs", 'postgres: 42P01: relation "tick" does not exist'),
        ("DELETE FROM tick", "table tick is empty"),
    ],
)
def test_one_that_has_no_ticks_to_go_by_says_so_and_ends_nothing(
    conn: psycopg.Connection, reconciler: Reconciler, store: "redis.Redis", done: str, said: str
) -> None:
    conn.execute(done.encode())
    with structlog.testing.capture_logs() as logs:
        assert reconciler.run_once() is None
    (line,) = logs
    assert line["event"] == "reconciliation_failed"
    assert said in line["error"]


def test_however_many_drift_the_log_stays_short_and_sums_up(
    dsn: str,
    conn: psycopg.Connection,
    reconciler: Reconciler,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    for number in range(LINES_MAX + 5):
        ledger.add_provider(conn, f"p{number}", 1000)
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        syncer.tick(minute(1))
    hide(conn, rows=LINES_MAX + 5)
    add(conn, 1, 3)
    store.set("2_p1", "8")
    with structlog.testing.capture_logs() as logs:
        reconciler.run_once()
    lines = [one for one in logs if one["event"] == "ledger_drift"]
    assert len(lines) == LINES_MAX
    assert (lines[0]["provider_id"], lines[0]["missing"], lines[0]["unfolded"]) == (1, -993, 3)
    (keydb,) = (one for one in logs if one["event"] == "keydb_drift")
    assert (keydb["key"], keydb["expected"], keydb["found"]) == ("2_p1", "1000", "8")
    (total,) = (one for one in logs if one["event"] == "reconciled")
    assert (total["drifting"], total["ledger_drifts"], total["keydb_drifts"]) == (25, 25, 1)
    assert REGISTRY.get_sample_value("minutebook_drift_providers") == 25


class Counting(Reconciler):
    """Only counts."""

    runs = 0

    def run_once(self) -> None:
        self.runs += 1

    def has_run(self, times: int) -> bool:
        return self.runs == times


@pytest.mark.parametrize(("every", "runs"), [(0, 0), (1, 6), (3, 2), (7, 0)])
def test_it_is_due_every_so_many_ticks(
    stop: threading.Event, dsn: str, keydb_server: servers.Keydb, *, every: int, runs: int
) -> None:
    connect = partial(psycopg.connect, dsn)
    counting = Counting(connect, lambda: ledger.projecting(keydb_server.url()), every, stop)
    with worker.running("reconciler", counting.live, stop, Health()):
        for number in range(1, 7):
            counting.ticked()
            if every and number % every == 0:
                eventually(partial(counting.has_run, number // every))
    assert counting.runs == runs


def test_who_takes_over_looks_at_its_first_tick_and_then_as_ever(
    stop: threading.Event, dsn: str, keydb_server: servers.Keydb
) -> None:
    connect = partial(psycopg.connect, dsn)
    counting = Counting(connect, lambda: ledger.projecting(keydb_server.url()), 3, stop)
    with worker.running("reconciler", counting.live, stop, Health()):
        counting.stood_by()
        counting.ticked()
        eventually(partial(counting.has_run, 1))
        counting.ticked()
        counting.ticked()
        eventually(partial(counting.has_run, 2))
