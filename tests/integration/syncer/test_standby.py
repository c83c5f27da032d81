"""Of two syncers one is at work; what the other shows is true, or said to be unknown."""

import contextlib
import math

import psycopg
import redis

from tests.support import ledger, programs
from tests.support.eventually import eventually
from tests.support.programs import Program
from tests.support.tcp_proxy import proxying

Environment = dict[str, str]
ROW_OF_LONG_AGO = """
INSERT INTO outbox (provider_id, amount, operation, created_at)
VALUES (1, 0, 'modified', '2001-01-01 00:00Z')
"""
HIDDEN = "UPDATE initial_data SET initial_value = %s"


def hide(conn: psycopg.Connection, value: int) -> None:
    """Change initial values where no trigger sees it."""
    with conn.transaction():
        conn.execute("SET LOCAL session_replication_role = replica")
        conn.execute(HIDDEN, [value])


def found(syncer: Program) -> tuple[float, float]:
    """Return what only a syncer at work finds out."""
    return (
        syncer.metric("minutebook_drift_providers"),
        syncer.metric("minutebook_default_partition_rows"),
    )


def knows_nothing(syncer: Program) -> bool:
    return all(math.isnan(one) for one in found(syncer))


def test_who_stands_by_after_having_been_at_work_does_not_go_on_showing_what_it_had_found(
    environment: Environment, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    conn.execute(ROW_OF_LONG_AGO)
    environment["RECONCILE_EVERY_TICKS"] = "3"
    with (
        proxying(environment["RABBITMQ_URL"]) as (proxy, url),
        programs.running("services.syncer", **environment | {"RABBITMQ_URL": url}) as one,
        contextlib.ExitStack() as later,
    ):
        assert knows_nothing(one)
        later.enter_context(programs.running("services.ticker", **environment))
        eventually(lambda: found(one) == (0, 1))
        hide(conn, 7)
        eventually(lambda: found(one) == (1, 1))
        with programs.running("services.syncer", **environment) as other:
            eventually(lambda: other.metric("minutebook_tick_interval_seconds") == 1)
            assert knows_nothing(other)
            with proxy.down():
                eventually(lambda: found(other) == (1, 1))
            eventually(lambda: knows_nothing(one))
            hide(conn, 1000)
            eventually(lambda: found(other) == (0, 1))
            assert knows_nothing(one)
    assert ledger.shown(store) == {"1_Visa": "1000"}


def test_who_takes_over_reconciles_at_once_however_rarely_it_does_otherwise(
    environment: Environment, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    environment["RECONCILE_EVERY_TICKS"] = "1000000"
    with (
        programs.running("services.syncer", **environment) as one,
        programs.running("services.ticker", **environment),
    ):
        eventually(lambda: ledger.shown(store) == {"1_Visa": "1000"})
        with programs.running("services.syncer", **environment) as other:
            eventually(lambda: other.metric("minutebook_tick_interval_seconds") == 1)
            hide(conn, 7)
            one.kill()
            eventually(lambda: found(other)[0] == 1)
            assert '"ledger_drift"' not in one.logs()


def test_who_stands_by_and_is_cut_off_from_keydb_is_unhealthy_though_the_other_is_healthy(
    environment: Environment, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with (
        proxying(environment["KEYDB_URL"]) as (proxy, url),
        programs.running("services.syncer", **environment) as one,
        programs.running("services.ticker", **environment),
    ):
        eventually(lambda: ledger.shown(store) == {"1_Visa": "1000"})
        with programs.running("services.syncer", **environment | {"KEYDB_URL": url}) as other:
            eventually(lambda: other.metric("minutebook_tick_interval_seconds") == 1)
            eventually(lambda: other.health()[0] == 200)
            with proxy.down():
                eventually(lambda: '"watermark"' in other.health()[1])
                eventually(lambda: one.health()[0] == 200)
                assert other.metric("minutebook_watermark_age_seconds") > 2
            eventually(lambda: other.health()[0] == 200)


def test_who_is_cut_off_from_postgres_does_not_know_how_old_the_oldest_row_is(
    environment: Environment, conn: psycopg.Connection
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with (
        proxying(environment["POSTGRES_DSN"]) as (proxy, dsn),
        programs.running("services.syncer", **environment | {"POSTGRES_DSN": dsn}) as syncer,
    ):
        eventually(lambda: unfolded(syncer) > 0)
        with proxy.down():
            eventually(lambda: math.isnan(unfolded(syncer)))
        eventually(lambda: unfolded(syncer) > 0)


def unfolded(syncer: Program) -> float:
    return syncer.metric("minutebook_oldest_unfolded_seconds")
