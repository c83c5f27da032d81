"""A login that is refused is reported without its password; services go on trying, seldom."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from urllib.parse import urlsplit

import psycopg
import pytest
from pydantic import Secret

from shared import postgres, retry
from shared.amqp import ticks
from shared.amqp.consumer import Consumer
from shared.errors import Busy, Denied
from shared.settings import PostgresSettings, RabbitmqSettings
from tests.support import messages, programs, servers
from tests.support.eventually import eventually
from tests.support.ops_tool import Tool
from tests.support.outages import reconnects

SECRET = "hunter2"
LINE = '{"id": 1, "value": 600, "message_id": "m1"}\n'


def with_password(url: str, password: str = SECRET) -> str:
    return url.replace(f":{servers.PASSWORD}@", f":{password}@")


@pytest.mark.parametrize("connect", [Consumer.connected, ticks.Broker.connected])
def test_rabbitmq_s_refusal_names_user_virtual_host_and_server(
    amqp_url: str, connect: Callable[..., AbstractContextManager[object]]
) -> None:
    parts = urlsplit(amqp_url)
    place = f"{parts.hostname}:{parts.port} refuses the login (user user, virtual host "
    for url, vhost, said in (
        (with_password(amqp_url), parts.path[1:], "ACCESS_REFUSED"),
        (amqp_url.replace(parts.path, "/nosuch"), "nosuch", "vhost nosuch not found"),
    ):
        settings = RabbitmqSettings(rabbitmq_url=Secret(url))
        with pytest.raises(Denied) as caught, connect(settings, name="test"):
            pass
        assert caught.value.detail.startswith(f"{place}{vhost}): ")
        assert said in caught.value.detail
        assert SECRET not in str(caught.value)


def test_postgres_s_refusal_names_user_or_database_and_server(dsn: str) -> None:
    place = urlsplit(dsn)
    for url, said in (
        (with_password(dsn), 'password authentication failed for user "user"'),
        (dsn.replace(place.path, "/nosuch"), 'database "nosuch" does not exist'),
        (f"{dsn}?options=-c%20nothing%3D1", 'unrecognized configuration parameter "nothing"'),
    ):
        settings = PostgresSettings(postgres_dsn=Secret(url))
        with pytest.raises(Denied) as caught, postgres.connection(settings, application="test"):
            pass
        assert said in caught.value.detail
        assert f"port {place.port}" in caught.value.detail
        assert SECRET not in str(caught.value)


def test_a_service_that_is_refused_has_the_reason_in_its_health_and_tries_seldom(
    dsn: str, amqp_url: str
) -> None:
    with messages.ingest(dsn, with_password(amqp_url)) as ingest:
        eventually(lambda: "refuses the login (user user" in ingest.health()[1])
        assert ingest.health()[0] == 503
        eventually(lambda: ingest.metric('minutebook_reconnects_total{server="rabbitmq"}') == 1)
        assert SECRET not in ingest.logs()
    began = time.monotonic()
    with messages.ingest(with_password(dsn), amqp_url) as ingest:
        eventually(lambda: "password authentication failed" in ingest.health()[1])
        tries = reconnects(ingest)
        # The writer and the releaser, once each.
        assert tries <= 2 * (1 + (time.monotonic() - began) // retry.DENIED_PAUSE_S[0])


def test_tools_that_are_refused_end_at_once_and_say_what_was_refused(
    environment: dict[str, str], dsn: str, amqp_url: str
) -> None:
    ops = Tool(environment)
    began = time.monotonic()
    sent = ops("send", "--file", "-", stdin=LINE, RABBITMQ_URL=with_password(amqp_url))
    asked = ops.json("provider", "add", "Visa", "0", code=3, POSTGRES_DSN=with_password(dsn))
    with programs.running("migrations", POSTGRES_DSN=with_password(dsn)) as migrate:
        assert migrate.process.wait(60) == 3
        assert "password authentication failed" in migrate.lines()[-1]["reason"]
    assert time.monotonic() - began < 20
    assert sent.code == 3
    assert "refuses the login (user user" in sent.stdout + sent.stderr
    assert asked["error"]["kind"] == "postgres refuses"
    assert 'failed for user "user"' in asked["error"]["detail"]


def test_a_lock_that_somebody_holds_is_busy_and_no_outage(
    dsn: str, conn: psycopg.Connection
) -> None:
    conn.execute("SET lock_timeout = '50ms'")
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE initial_data")
        with pytest.raises(Busy) as caught, postgres.translating():
            conn.execute("SELECT FROM initial_data")
    assert caught.value.state == "is busy"
    assert caught.value.detail.startswith("55P03: ")
