"""Two syncers, one stopped by SIGSTOP in the middle of its work and resumed much later."""

import signal
import urllib.parse
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import redis

from shared.amqp import ticks
from tests.support import ledger, loss_scenario, programs, servers
from tests.support.disturbances import Disturbance
from tests.support.eventually import TIMEOUT_S, eventually
from tests.support.loss_scenario import will_say
from tests.support.tcp_proxy import proxying

FENCED = "minutebook_fenced_writes_total"
TICKS_MEANWHILE = 3


@pytest.fixture
def scenario(
    amqp_url: str, store: "redis.Redis", keydb_server: servers.Keydb, conn: psycopg.Connection
) -> Iterator[loss_scenario.LossScenario]:
    loss_scenario.providers(conn)
    with loss_scenario.scenario(amqp_url, keydb_server) as scenario:
        yield scenario


def consumers(server: servers.Rabbitmq, amqp_url: str) -> list[dict[str, Any]]:
    """Return the syncers that the broker knows."""
    found = server.manage("GET", f"consumers/{amqp_url.rpartition('/')[2]}")
    return [one for one in found if one["queue"]["name"] == ticks.QUEUE]


def freeze(program: programs.Program) -> None:
    program.process.send_signal(signal.SIGSTOP)


def resume(program: programs.Program) -> None:
    program.process.send_signal(signal.SIGCONT)


def take_place_away(server: servers.Rabbitmq, amqp_url: str) -> None:
    """Close the active syncer's connection, as the broker does once its heartbeat stays out."""
    (active,) = [one for one in consumers(server, amqp_url) if one["active"]]
    name = urllib.parse.quote(active["channel_details"]["connection_name"], safe="")
    server.manage("DELETE", f"connections/{name}")


def both_wait(server: servers.Rabbitmq, amqp_url: str) -> None:
    """Wait until the broker knows both, and by which connections: it collects these every 5 s."""

    def known() -> bool:
        found = consumers(server, amqp_url)
        return len(found) == 2 and all(one["channel_details"] for one in found)

    eventually(known)


def freeze_at(held: Disturbance, sleeper: programs.Program) -> None:
    """Freeze a syncer once what it sent is held, so that it never sees an answer."""
    assert held.done.wait(TIMEOUT_S)
    freeze(sleeper)


@servers.on_both_stores
def test_a_syncer_that_froze_while_publishing_is_fenced_when_it_wakes_much_later(
    scenario: loss_scenario.LossScenario,
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
    *,
    rabbitmq_server: servers.Rabbitmq,
) -> None:
    url = keydb_server.url()
    with (
        proxying(url) as (proxy, slow_url),
        loss_scenario.syncer(dsn, amqp_url, slow_url) as sleeper,
    ):
        scenario.right(conn)
        with loss_scenario.syncer(dsn, amqp_url, url) as other:
            both_wait(rabbitmq_server, amqp_url)
            held = proxy.hold(b"EVALSHA")
            scenario.written(conn)
            freeze_at(held, sleeper)
            assert ledger.watermark(scenario.store)[0] == "1"
            take_place_away(rabbitmq_server, amqp_url)
            # The tick that was not acknowledged is delivered again.
            scenario.becomes_right(conn)
            for _ in range(TICKS_MEANWHILE):
                scenario.right(conn)
            before = ledger.watermark(scenario.store)
            proxy.release()
            resume(sleeper)
            eventually(lambda: sleeper.metric(FENCED) == 1)
            will_say(sleeper, "fenced", epoch=2, expected="1")
            assert ledger.watermark(scenario.store) == before
            scenario.right(conn)
            assert other.metric(FENCED) == 0
        scenario.right(conn)  # by the one that slept


def test_a_syncer_that_froze_in_its_transaction_holds_up_the_other_for_seconds_only(
    scenario: loss_scenario.LossScenario,
    dsn: str,
    conn: psycopg.Connection,
    amqp_url: str,
    keydb_server: servers.Keydb,
    *,
    rabbitmq_server: servers.Rabbitmq,
) -> None:
    url = keydb_server.url()
    with (
        proxying(dsn) as (proxy, slow_dsn),
        loss_scenario.syncer(slow_dsn, amqp_url, url) as sleeper,
    ):
        scenario.right(conn)
        with loss_scenario.syncer(dsn, amqp_url, url):
            both_wait(rabbitmq_server, amqp_url)
            held = proxy.hold(b"COMMIT\0")  # BEGIN says COMMITTED
            scenario.change(conn)
            scenario.tick()
            freeze_at(held, sleeper)
            take_place_away(rabbitmq_server, amqp_url)
            scenario.becomes_right(conn)
            assert ledger.watermark(scenario.store)[0] == "2"
            proxy.release()
            resume(sleeper)
            will_say(sleeper, "reconnecting", server="postgres")
            scenario.right(conn)
            ledger.assert_counted_once(conn)
