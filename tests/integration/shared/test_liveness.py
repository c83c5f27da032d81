"""`/livez`: alive while threads turn, whatever the servers do; dead only when one is stuck."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from pydantic import Secret

from services.ingest.__main__ import Connectors, IngestSettings, run
from shared import limited_connection, postgres
from shared.errors import Unavailable
from shared.health import Health
from shared.settings import PostgresSettings
from tests.support import ledger, programs
from tests.support.eventually import eventually
from tests.support.programs import Program
from tests.support.tcp_proxy import TcpProxy, proxying

STUCK_S = 3
MOMENT_S = 1.0
OUTAGE_S = STUCK_S + MOMENT_S + 1.0
"""Longer than a loop may stand still."""
URLS = ("POSTGRES_DSN", "RABBITMQ_URL", "KEYDB_URL")


@contextlib.contextmanager
def proxied(environment: dict[str, str]) -> Iterator[tuple[list[TcpProxy], dict[str, str]]]:
    """Yield a proxy before each server, and the settings that lead through them."""
    with contextlib.ExitStack() as opened:
        found = [opened.enter_context(proxying(environment[name])) for name in URLS]
        through = dict(zip(URLS, (url for _, url in found), strict=True))
        limit = {"LIVEZ_STUCK_SECONDS": str(STUCK_S)}
        yield [proxy for proxy, _ in found], environment | through | limit


def stays_alive(services: list[Program], lasting_s: float) -> None:
    """Fail if one of them does not say all the time that it is alive.

    But for a moment: a machine that stops all of us for so long stops their loops, too.
    """
    pause, until = threading.Event(), time.monotonic() + lasting_s
    while time.monotonic() < until:
        eventually(lambda: {one.asked("/livez")[0] for one in services} == {200}, MOMENT_S)
        pause.wait(0.1)


def test_services_are_alive_while_every_server_is_away_and_then_frozen_and_work_afterwards(
    environment: dict[str, str], conn: psycopg.Connection
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    with contextlib.ExitStack() as opened:
        proxies, settings = opened.enter_context(proxied(environment))
        names = ("services.ingest", "services.ticker", "services.syncer")
        services = [opened.enter_context(programs.running(one, **settings)) for one in names]
        eventually(lambda: all(one.health()[0] == 200 for one in services))
        for outage in (TcpProxy.down, TcpProxy.frozen):
            with contextlib.ExitStack() as outages:
                for proxy in proxies:
                    outages.enter_context(outage(proxy))
                stays_alive(services, OUTAGE_S)
                eventually(lambda: 503 in [one.health()[0] for one in services])
            eventually(lambda: all(one.health()[0] == 200 for one in services), 60)


def ingest_settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> IngestSettings:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return IngestSettings(metrics_port=0)


def test_a_thread_that_is_stuck_is_named_while_the_others_turn(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    released, stop = threading.Event(), threading.Event()
    health = Health(stuck_s=1.0)

    def to_postgres(*_: Any, turn: Callable[[float], None], **__: Any) -> Any:
        turn(0.0)
        released.wait()  # no server: nothing that has a limit
        raise Unavailable("postgres", "the test is over")

    chosen = ingest_settings(environment, monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run, chosen, health, stop, Connectors(to_postgres))
        try:
            eventually(lambda: set(health.stuck()) == {"writer", "releaser"})
        finally:
            stop.set()
            released.set()
        done.result()


def ask_a_frozen_server(proxy: TcpProxy, given: PostgresSettings, turns: list[float]) -> None:
    """Open a connection, then ask over it what is not answered."""
    with postgres.connection(given, application="test", turn=turns.append) as conn:
        assert postgres.scalar(conn, "SELECT 1") == "1"
        with proxy.frozen(), conn.transaction():
            conn.execute("SELECT 2")


def test_a_statement_that_a_frozen_server_never_answers_is_given_up(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "SPARE_S", 0.5)
    turns: list[float] = []
    with proxying(dsn) as (proxy, url):
        given = PostgresSettings(postgres_dsn=Secret(f"{url}?options=-c%20statement_timeout%3D1s"))
        with pytest.raises(Unavailable, match=r"no answer in 1\.5 s"):
            ask_a_frozen_server(proxy, given, turns)
    assert turns[0] == postgres.CONNECT_TIMEOUT_S
    assert turns[-2:] == [1.5, 0.0]


def test_a_frozen_server_is_given_up_soon_however_long_a_statement_may_take(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "ASK_EVERY_S", 0.2)
    monkeypatch.setattr(limited_connection, "ASK_WITHIN_S", 2)
    with proxying(dsn) as (proxy, url):
        given = PostgresSettings(postgres_dsn=Secret(f"{url}?options=-c%20statement_timeout%3D1h"))
        with pytest.raises(Unavailable, match="answers nobody any more"):
            ask_a_frozen_server(proxy, given, [])


def test_a_server_that_takes_its_time_and_answers_others_is_waited_for(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "ASK_EVERY_S", 0.1)
    given, turns = PostgresSettings(postgres_dsn=Secret(dsn)), list[float]()
    with postgres.connection(given, application="test", turn=turns.append) as conn:
        assert postgres.scalar(conn, "SELECT 7 FROM pg_sleep(1)") == "7"
        conn.execute("SELECT 1")


def test_what_has_no_timeout_may_take_longer_than_the_limit_of_other_statements(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limited_connection, "SPARE_S", 1.0)
    given = PostgresSettings(postgres_dsn=Secret(f"{dsn}?options=-c%20statement_timeout%3D1s"))
    turns: list[float] = []
    with postgres.connection(given, application="test", turn=turns.append) as conn:
        with conn.transaction(), limited_connection.without_timeout(conn):
            conn.execute("SELECT pg_sleep(2.5)")
        assert limited_connection.WAIT_MAX_S in turns
        conn.execute("SELECT 1")
        assert turns[-2] == pytest.approx(2.0)
