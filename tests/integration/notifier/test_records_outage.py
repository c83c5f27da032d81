"""Servers lost at any moment: each record is acted on, the last one wins, unfit ones are kept."""

from collections.abc import Callable

import psycopg
import pytest

from shared.health import Health
from tests.support import alert_records
from tests.support.alert_records import BELOW, alerts, dead_letters, publish, record, working
from tests.support.disturbances import Disturbance
from tests.support.eventually import eventually
from tests.support.tcp_proxy import TcpProxy, proxying

ACK = b"\x00\x3c\x00\x50"
"""The method basic.ack (AMQP 0-9-1: class 60, method 80)."""
COMMIT = b"COMMIT\x00"
RECORDS = 40
RECOVERY_S = 30.0

Cut = Callable[[TcpProxy, TcpProxy], Disturbance]
CUTS: dict[str, Cut] = {
    "between commit and acknowledgement": lambda _, broker: broker.lose(ACK),
    "before the commit": lambda ledger, _: ledger.lose(COMMIT),
    "before the commit's answer": lambda ledger, _: ledger.lose_reply_to(COMMIT),
    "in the middle of a delivery": lambda _, broker: broker.cut_within(b'"operation"'),
}


def publish_all(amqp_url: str) -> None:
    """Publish records of one alert again and again, of others once, and an unfit one between.

    The very first one is of an alert of which no other record comes, so that its loss shows: the
    first batch, which is the one that is struck, may hold no more than that.
    """
    bodies = [record("MODIFIED", BELOW | {"threshold": one}) for one in range(RECORDS)]
    others = [record(source_id=f"other {one}") for one in range(RECORDS)]
    bodies = [body for pair in zip(others, bodies, strict=True) for body in pair]
    bodies.insert(RECORDS, b"no")
    publish(amqp_url, *bodies, record(source_id="last"))


def all_is_done(conn: psycopg.Connection) -> None:
    once = dict.fromkeys([f"other {one}" for one in range(RECORDS)] + ["last"], 1000)
    eventually(lambda: alerts(conn) == {"A": RECORDS - 1} | once, RECOVERY_S)
    assert dead_letters(conn) == [("alerts", "not_json")]


@pytest.mark.parametrize("cut", CUTS)
def test_a_connection_cut_at_the_worst_moment_loses_no_record(
    conn: psycopg.Connection, dsn: str, amqp_url: str, cut: str
) -> None:
    with (
        proxying(dsn) as (ledger, cut_dsn),
        proxying(amqp_url) as (broker, cut_url),
        working(cut_dsn, cut_url) as health,
    ):
        eventually(lambda: not health.problems(), RECOVERY_S)  # else a COMMIT of its start is cut
        disturbance = CUTS[cut](ledger, broker)
        publish_all(amqp_url)
        assert disturbance.done.wait(RECOVERY_S)
        all_is_done(conn)
        eventually(lambda: not health.problems(), RECOVERY_S)

    assert alert_records.left_in_queue(amqp_url) == 0


def has_said(health: Health, server: str) -> bool:
    return any(server in why for why in health.problems().values())


@pytest.mark.parametrize("server", ["postgres", "rabbitmq"])
def test_a_server_that_is_down_is_waited_for_and_said_to_be(
    conn: psycopg.Connection, dsn: str, amqp_url: str, server: str
) -> None:
    with (
        proxying(dsn) as (ledger, cut_dsn),
        proxying(amqp_url) as (broker, cut_url),
        working(cut_dsn, cut_url) as health,
    ):
        with (ledger if server == "postgres" else broker).down():
            publish_all(amqp_url)
            eventually(lambda: has_said(health, server), RECOVERY_S)
            assert alerts(conn) == {}
        all_is_done(conn)
        eventually(lambda: not health.problems(), RECOVERY_S)

    assert alert_records.left_in_queue(amqp_url) == 0


def test_what_the_database_refuses_is_neither_lost_nor_a_dead_letter(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    conn.execute("ALTER TABLE alert RENAME TO hidden")
    with working(dsn, amqp_url) as health:
        publish(amqp_url, record())
        eventually(lambda: has_said(health, "alert"), RECOVERY_S)
        conn.execute("ALTER TABLE hidden RENAME TO alert")
        eventually(lambda: alerts(conn) == {"A": 1000}, RECOVERY_S)

    assert dead_letters(conn) == []
    assert alert_records.left_in_queue(amqp_url) == 0


def test_of_two_workers_one_acts_and_the_other_takes_over(
    conn: psycopg.Connection, dsn: str, amqp_url: str
) -> None:
    with proxying(amqp_url) as (broker, cut_url), working(dsn, cut_url), working(dsn, amqp_url):
        publish(amqp_url, record())
        eventually(lambda: alerts(conn) == {"A": 1000})
        with broker.down():
            publish_all(amqp_url)
            all_is_done(conn)

    assert alert_records.left_in_queue(amqp_url) == 0
