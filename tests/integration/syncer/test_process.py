"""The syncer as a process, driven by the ticker or by ticks of the test's own."""

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median
from typing import Any

import pika
import psycopg
import pytest
import redis
from pika.adapters.blocking_connection import BlockingChannel

from shared import tick
from shared.amqp import ticks
from tests.support import ledger, programs, servers
from tests.support.eventually import TIMEOUT_S, eventually
from tests.support.ledger import add
from tests.support.timing import in_a_row

Environment = dict[str, str]
# The tick at whose boundary the newest change was counted, and when KeyDB showed it.
COUNTED_BY = """
SELECT extract(epoch FROM boundary)::float8,
       extract(epoch FROM published_at - boundary)::float8
  FROM tick
 WHERE published_at IS NOT NULL AND NOT interim
   AND epoch >= (SELECT max(epoch) FROM balance)
 ORDER BY epoch
 LIMIT 1
"""


@pytest.fixture
def channel(amqp_url: str) -> Iterator[BlockingChannel]:
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        yield connection.channel()


def publish(channel: BlockingChannel, second: int = 0, *, interval_s: int = 1) -> datetime:
    """Publish a tick for the boundary that has just passed, or one `second` s before it."""
    now = int(datetime.now(UTC).timestamp())
    at = datetime.fromtimestamp(now - second, UTC)
    channel.basic_publish("ticks", "", tick.encode(tick.Tick(at, interval_s, "test")))
    return at


def consumers(server: servers.Rabbitmq, amqp_url: str) -> list[bool]:
    """Return, for each consumer of the tick queue, whether it is the active one."""
    vhost = amqp_url.rpartition("/")[2]
    found = server.manage("GET", f"consumers/{vhost}")
    return [bool(c["active"]) for c in found if c["queue"]["name"] == ticks.QUEUE]


def health(program: programs.Program) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{program.port()}/healthz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_with_a_ticker_keydb_is_right_within_a_boundary_and_sigterm_ends_both(
    environment: Environment, conn: psycopg.Connection, store: "redis.Redis"
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with (
        programs.running("services.syncer", **environment) as syncer,
        programs.running("services.ticker", **environment) as ticker,
    ):
        eventually(lambda: ledger.shown(store) == {"1_Visa": "1000"})
        counted = []
        for value in (600, -50, 7, 8, 9):
            add(conn, visa, value)
            committed = datetime.now(UTC).timestamp()
            eventually(lambda: ledger.shown(store) == ledger.truth(conn))
            ((boundary, lateness_s),) = eventually(lambda: conn.execute(COUNTED_BY).fetchall())
            assert lateness_s >= 0
            counted.append((lateness_s, boundary - committed))
        # Most of them, since a busy machine stops all of us now and then.
        assert median(late for late, _ in counted) < 1
        assert median(after for _, after in counted) < 1.5
        eventually(lambda: syncer.metric("minutebook_tick_lateness_seconds_count") > 0)
        eventually(lambda: health(syncer) == (200, {"ok": True, "problems": {}}))
        assert (ticker.stop(), syncer.stop()) == (0, 0)


def test_two_tickers_and_two_syncers_make_one_tick_per_boundary_and_a_standby_takes_over(
    environment: Environment,
    conn: psycopg.Connection,
    store: "redis.Redis",
    amqp_url: str,
    rabbitmq_server: servers.Rabbitmq,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with (
        programs.running("services.syncer", **environment) as one,
        programs.running("services.syncer", **environment) as other,
        programs.running("services.ticker", **environment),
        programs.running("services.ticker", **environment),
    ):
        eventually(lambda: sorted(consumers(rabbitmq_server, amqp_url)) == [False, True])
        eventually(lambda: in_a_row(boundaries(conn)) >= 3)
        active, standby = (one, other) if works(one) else (other, one)
        assert not works(standby)
        active.kill()
        add(conn, visa, 5)
        eventually(lambda: ledger.shown(store) == {"1_Visa": "1005"})
        eventually(lambda: works(standby))
    ledger.assert_counted_once(conn)
    assert boundaries(conn) == sorted(set(boundaries(conn)))


def is_unhealthy(program: programs.Program) -> bool:
    status, body = health(program)
    return status == 503 and "no progress for" in body["problems"].get("tick", "")


def works(program: programs.Program) -> bool:
    return '"tick_written"' in program.logs()


def boundaries(conn: psycopg.Connection) -> list[int]:
    found = conn.execute(
        "SELECT extract(epoch FROM boundary)::bigint"
        "  FROM tick WHERE epoch > 0 AND NOT interim ORDER BY epoch"
    )
    return [second for (second,) in found]


def test_while_no_syncer_runs_its_queue_holds_the_newest_tick_only(
    environment: Environment, conn: psycopg.Connection, channel: BlockingChannel
) -> None:
    with programs.running("services.syncer", **environment) as syncer:
        eventually(lambda: health(syncer)[0] == 200)
        assert syncer.stop() == 0
    channel.confirm_delivery()
    newest = [publish(channel, second, interval_s=60) for second in (9, 6, 3)][-1]
    state = channel.queue_declare(ticks.QUEUE, passive=True)
    assert state.method.message_count == 1
    with programs.running("services.syncer", **environment):
        eventually(lambda: boundaries(conn))
    assert boundaries(conn) == [int(newest.timestamp())]


def test_without_ticks_for_two_intervals_it_is_unhealthy_and_is_healthy_again_by_itself(
    environment: Environment, channel: BlockingChannel
) -> None:
    with programs.running("services.syncer", **environment) as syncer:
        eventually(lambda: health(syncer)[0] == 200)
        publish(channel)
        eventually(lambda: works(syncer))
        eventually(lambda: is_unhealthy(syncer))
        eventually(lambda: (publish(channel), health(syncer)[0] == 200)[1])


def interims(conn: psycopg.Connection) -> int:
    row = conn.execute("SELECT count(*) FROM tick WHERE interim").fetchone()
    assert row
    return int(row[0])


def spend(conn: psycopg.Connection, provider: int) -> bool:
    add(conn, provider, 1)
    return True


def spend_for_folds(conn: psycopg.Connection, provider: int, syncer: programs.Program) -> None:
    """Go on spending until the syncer has read three times more."""
    until = syncer.metric("minutebook_fold_seconds_count") + 3
    eventually(
        lambda: spend(conn, provider) and syncer.metric("minutebook_fold_seconds_count") >= until
    )


def test_a_tick_is_prepared_by_the_clock_and_no_more_while_it_does_not_come(
    environment: Environment,
    conn: psycopg.Connection,
    store: "redis.Redis",
    channel: BlockingChannel,
) -> None:
    visa = ledger.add_provider(conn, "Visa", 1000)
    with programs.running("services.syncer", **environment) as syncer:
        eventually(lambda: health(syncer)[0] == 200)
        publish(channel)
        eventually(lambda: works(syncer))
        eventually(lambda: spend(conn, visa) and interims(conn) > 0)
        spend_for_folds(conn, visa, syncer)  # the boundary is over by then
        prepared = interims(conn)
        assert prepared <= 2
        spend_for_folds(conn, visa, syncer)
        assert interims(conn) == prepared
        publish(channel)
        eventually(lambda: ledger.shown(store) == ledger.truth(conn))
    ledger.assert_counted_once(conn)


@pytest.mark.parametrize(
    "body", [b"\xff not a tick", b'{"tick":"0001-01-01T00:00:00+23:59","interval_s":1,"ticker":""}']
)
def test_a_malformed_tick_is_dropped_and_reported(
    environment: Environment, conn: psycopg.Connection, channel: BlockingChannel, body: bytes
) -> None:
    with programs.running("services.syncer", **environment) as syncer:
        eventually(lambda: health(syncer)[0] == 200)
        channel.basic_publish("ticks", "", body)
        eventually(lambda: '"malformed_tick"' in syncer.logs())
        publish(channel)
        eventually(lambda: boundaries(conn))
        assert syncer.stop() == 0
        # The good one may be there: written, and not yet acknowledged when the syncer stopped.
        *_, left = next(channel.consume(ticks.QUEUE, inactivity_timeout=1))
        assert left != body


def test_ticks_that_are_refused_do_not_make_it_well(
    environment: Environment, channel: BlockingChannel
) -> None:
    with programs.running("services.syncer", **environment) as program:
        eventually(lambda: "syncer" not in health(program)[1]["problems"])
        publish(channel)
        eventually(lambda: works(program))
        eventually(lambda: (publish(channel, -30), is_unhealthy(program))[1])
        eventually(lambda: (publish(channel), health(program)[0] == 200)[1])
