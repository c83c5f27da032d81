"""Servers lost at any moment of accepting: each item becomes one row, and each request is noted."""

from collections.abc import Callable
from dataclasses import replace

import psycopg
import pytest

from shared.request_message import QUEUE
from tests.support import messages
from tests.support.disturbances import Disturbance
from tests.support.eventually import eventually
from tests.support.tcp_proxy import TcpProxy, proxying
from tests.support.tracking import USUAL, Life, Sender, accepting, body, item, tick, tracker_life

ACK = b"\x00\x3c\x00\x50"
PUBLISH = b"\x00\x3c\x00\x28"
"""The methods basic.ack and basic.publish (AMQP 0-9-1: class 60, methods 80 and 40)."""
COMMIT = b"COMMIT\x00"
NOTE = b"SET published_at"
REQUESTS, EACH = 30, 3

Cut = Callable[[TcpProxy, TcpProxy], Disturbance]
CUTS: dict[str, Cut] = {
    "before the commit": lambda ledger, _: ledger.lose(COMMIT),
    "after the commit": lambda ledger, _: ledger.lose_reply_to(COMMIT),
    "before items are published": lambda _, broker: broker.lose(PUBLISH),
    "before they are confirmed": lambda _, broker: broker.lose_reply_to(PUBLISH),
    "before that is noted": lambda ledger, _: ledger.lose(NOTE),
    "after that was noted": lambda ledger, _: ledger.lose_reply_to(NOTE),
    "before the acknowledgement": lambda _, broker: broker.lose(ACK),
    "in the middle of a delivery": lambda _, broker: broker.cut_within(b'"request"'),
}


def send_all(sender: Sender) -> None:
    for number in range(REQUESTS):
        values = range(number * EACH, (number + 1) * EACH)
        sender.send(body(*map(item, values), key=f"K-{number}"))


def all_is_done(conn: psycopg.Connection, sender: Sender) -> None:
    """Each request is published, and of what was published each item becomes one row."""
    noted = "SELECT count(*) FROM request WHERE published_at IS NOT NULL"
    eventually(lambda: conn.execute(noted).fetchone() == (REQUESTS,))
    for one in sender.items():  # each by itself, as if it came much later
        sender.store(one)
    assert sorted(value for _, value in messages.rows(conn)) == list(range(REQUESTS * EACH))
    assert conn.execute("SELECT count(*) FROM dead_letter").fetchone() == (0,)


def left(sender: Sender) -> int:
    return int(sender.channel.queue_declare(QUEUE, passive=True).method.message_count)


@pytest.mark.parametrize("cut", CUTS)
def test_a_connection_cut_at_the_worst_moment_loses_and_doubles_no_item(
    conn: psycopg.Connection, dsn: str, amqp_url: str, sender: Sender, cut: str
) -> None:
    with (
        proxying(dsn) as (ledger, cut_dsn),
        proxying(amqp_url) as (broker, cut_url),
        accepting(cut_dsn, cut_url) as health,
    ):
        disturbance = CUTS[cut](ledger, broker)
        send_all(sender)
        assert disturbance.done.wait(30)
        all_is_done(conn, sender)
        eventually(lambda: not health.problems())

    assert left(sender) == 0


@pytest.mark.parametrize("cut", ["before that is noted", "before they are confirmed"])
def test_what_an_operator_deleted_meanwhile_does_not_come_back(
    conn: psycopg.Connection, dsn: str, amqp_url: str, sender: Sender, cut: str
) -> None:
    with proxying(dsn) as (ledger, cut_dsn), proxying(amqp_url) as (broker, cut_url):
        with accepting(cut_dsn, cut_url):
            disturbance = CUTS[cut](ledger, broker)
            lost = ledger if cut == "before that is noted" else broker
            sender.send(body(item(1), item(2)))
            assert disturbance.done.wait(30)
            with lost.down():
                eventually(lambda: sender.ingest() or len(messages.rows(conn)) == 2)
                conn.execute("DELETE FROM historical_transactions")
        with accepting(cut_dsn, cut_url):
            sender.send(body(item(1), item(2)))
            noted = "SELECT count(*) FROM request WHERE published_at IS NOT NULL"
            eventually(lambda: conn.execute(noted).fetchone() == (1,))
            eventually(lambda: left(sender) == 0)

    sender.ingest()
    assert messages.rows(conn) == []


def test_an_item_whose_identity_was_taken_before_it_came_out_is_a_dead_letter_and_published_once(
    conn: psycopg.Connection, life: Life, sender: Sender
) -> None:
    sender.send(body(item(1, message_id="own"), key="J"))
    life.accept()
    sender.ingest()
    request = body(item(5), item(2, message_id="own"))

    def published(*, stored: bool) -> list[str]:
        sender.send(request)
        life.accept()
        conn.execute("UPDATE request SET published_at = NULL WHERE id = 'K'")  # as if it had died
        came = sender.items()
        sender.store(*(came if stored else ()))
        return [identity for identity, _ in came]

    assert published(stored=False) == ["K:0", "own"]  # as if it had died before
    assert published(stored=True) == ["K:0", "own"]
    assert published(stored=True) == []

    assert conn.execute("SELECT message_id, reason FROM dead_letter").fetchall() == [
        ("own", "id_conflict")
    ]
    assert sorted(messages.rows(conn)) == [(1, 1), (1, 5)]


@pytest.mark.parametrize("server", ["postgres", "rabbitmq"])
def test_a_server_that_is_down_is_waited_for_and_said_to_be(
    conn: psycopg.Connection, dsn: str, amqp_url: str, sender: Sender, server: str
) -> None:
    with (
        proxying(dsn) as (ledger, cut_dsn),
        proxying(amqp_url) as (broker, cut_url),
        accepting(cut_dsn, cut_url) as health,
    ):
        with (ledger if server == "postgres" else broker).down():
            send_all(sender)
            eventually(lambda: any(server in why for why in health.problems().values()))
        all_is_done(conn, sender)
        eventually(lambda: not health.problems())

    assert left(sender) == 0


def test_two_trackers_share_the_queue_and_each_key_is_written_down_once(
    conn: psycopg.Connection, dsn: str, amqp_url: str, sender: Sender
) -> None:
    with accepting(dsn, amqp_url), accepting(dsn, amqp_url):
        for _ in range(2):  # each key twice, maybe one at each of them at the same moment
            send_all(sender)
        eventually(lambda: left(sender) == 0)
        all_is_done(conn, sender)

    found = conn.execute("SELECT count(*) FROM request").fetchone()
    assert found == (REQUESTS,)


def test_the_broker_is_answered_while_many_open_requests_are_looked_at(
    dsn: str, amqp_url: str, sender: Sender, conn: psycopg.Connection
) -> None:
    with tracker_life(dsn, amqp_url, limits=replace(USUAL, requests=1)) as life:
        life.run()
        for number in range(5):
            sender.send(body(item(number), key=f"K-{number}"))
        life.accept(5)
        poll, waits = life.replies.poll, list[float]()

        def noted(timeout_s: float, on_piece: Callable[[], bool] | None = None) -> None:
            waits.append(timeout_s)
            poll(timeout_s, on_piece)

        life.replies.poll = noted  # type: ignore[method-assign]
        tick(conn)
        life.run()

    assert waits.count(0.0) >= 5
