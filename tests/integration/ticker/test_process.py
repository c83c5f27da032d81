"""The ticker as a process beside a broker, at an interval of one second."""

import contextlib
import json
import signal
import time
import urllib.parse
from collections.abc import Iterator
from datetime import datetime

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.support import programs, servers
from tests.support.eventually import eventually
from tests.support.timing import at_best_s, in_a_row

PUBLISHED = "minutebook_ticks_published_total"
MISSED = "minutebook_ticks_missed_total"
LATE = "minutebook_tick_published_lateness_seconds"


class Ear:
    """A queue of the test's own on the exchange of ticks, and the boundaries heard so far."""

    def __init__(self, connection: pika.BlockingConnection) -> None:
        self._connection = connection
        self.boundaries: list[int] = []
        self.bodies: list[dict[str, object]] = []
        channel = connection.channel()
        channel.exchange_declare("ticks", exchange_type="fanout", durable=True)
        queue: str = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "ticks")
        # Pushed, not fetched: a tick left in the queue expires after an interval.
        channel.basic_consume(queue, self._on_tick, auto_ack=True)

    def _on_tick(
        self,
        _channel: BlockingChannel,
        _method: pika.spec.Basic.Deliver,
        _properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self.bodies.append(json.loads(body))
        boundary = datetime.fromisoformat(str(self.bodies[-1]["tick"]))
        self.boundaries.append(int(boundary.timestamp()))

    def listen(self) -> list[int]:
        """Take what has come; returns all boundaries so far, in Unix seconds."""
        self._connection.process_data_events(time_limit=0)
        return self.boundaries

    def hear(self, ticks: int) -> list[int]:
        """Wait until that many were heard in all."""
        eventually(lambda: len(self.listen()) >= ticks)
        return self.boundaries


@pytest.fixture
def ear(amqp_url: str) -> Iterator[Ear]:
    with contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        yield Ear(connection)


@contextlib.contextmanager
def ticking(amqp_url: str) -> Iterator[programs.Program]:
    with programs.running(
        "services.ticker", RABBITMQ_URL=amqp_url, TICK_INTERVAL_SECONDS="1"
    ) as ticker:
        yield ticker


def connections(server: servers.Rabbitmq, amqp_url: str) -> list[str]:
    """Return the names of the ticker's connections that the management page knows."""
    vhost = amqp_url.rpartition("/")[2]
    return [
        str(found["name"])
        for found in server.manage("GET", f"vhosts/{vhost}/connections")
        if found.get("client_properties", {}).get("connection_name") == "minutebook-ticker"
    ]


def between_ticks(ticker: programs.Program, ear: Ear) -> None:
    """Return just after a tick was heard whose confirm the ticker has, too."""
    ear.hear(len(ear.listen()) + 1)
    eventually(lambda: ticker.metric(PUBLISHED) == len(ear.listen()))


def close_connection(server: servers.Rabbitmq, name: str) -> None:
    """Have the broker close a connection, as an operator would."""
    server.manage("DELETE", f"connections/{urllib.parse.quote(name, safe='')}")


def test_every_boundary_is_published_once_and_sigterm_ends_it(amqp_url: str, ear: Ear) -> None:
    with ticking(amqp_url) as ticker:
        eventually(lambda: in_a_row(ear.listen()) >= 4)
        assert ear.bodies[0]["interval_s"] == 1
        assert eventually(lambda: ticker.metric(f"{LATE}_count") >= 4)
        in_time = ticker.metric(f'{LATE}_bucket{{le="0.5"}}')
        assert in_time >= ticker.metric(f"{LATE}_count") / 2
        assert_accounted(ticker, ear)
        assert ticker.stop() == 0


def test_a_boundary_is_published_at_its_time(amqp_url: str, ear: Ear) -> None:
    def late_s() -> float:
        boundary = ear.hear(len(ear.listen()) + 1)[-1]
        late = time.time() - boundary
        assert late >= 0
        return late

    with ticking(amqp_url):
        ear.hear(1)
        assert at_best_s(late_s, 0.5) < 0.9


def test_a_connection_closed_by_the_broker_costs_counted_boundaries_and_ticks_go_on(
    amqp_url: str, ear: Ear, rabbitmq_server: servers.Rabbitmq
) -> None:
    with ticking(amqp_url) as ticker:
        (name,) = eventually(lambda: connections(rabbitmq_server, amqp_url))
        between_ticks(ticker, ear)
        close_connection(rabbitmq_server, name)
        eventually(lambda: ticker.metric('minutebook_reconnects_total{server="rabbitmq"}') >= 1)
        ear.hear(len(ear.listen()) + 3)
        assert_accounted(ticker, ear)


@pytest.mark.parametrize("connection", ["stands", "died"])
def test_boundaries_slept_through_are_counted_once_also_when_the_connection_died_meanwhile(
    amqp_url: str, ear: Ear, rabbitmq_server: servers.Rabbitmq, connection: str
) -> None:
    with ticking(amqp_url) as ticker:
        (name,) = eventually(lambda: connections(rabbitmq_server, amqp_url))
        between_ticks(ticker, ear)
        ticker.process.send_signal(signal.SIGSTOP)
        if connection == "died":
            close_connection(rabbitmq_server, name)
        asleep = ear.listen()[-1]
        eventually(lambda: time.time() > asleep + 3.2)
        heard = len(ear.listen())
        ticker.process.send_signal(signal.SIGCONT)
        ear.hear(heard + 2)
        assert ticker.metric(MISSED) >= 2
        assert_accounted(ticker, ear)


def assert_accounted(ticker: programs.Program, ear: Ear) -> None:
    """Fail unless each boundary since the first was confirmed or counted as missed, never both.

    One whose confirm was lost is counted as missed, and may have been heard all the same.
    """

    def probe() -> bool:
        missed = ticker.metric(MISSED)
        confirmed = ticker.metric(PUBLISHED)
        heard = ear.listen()
        assert len(set(heard)) == len(heard)
        passed = heard[-1] - heard[0] + 1
        counts = f"{len(heard)} heard, {confirmed} confirmed, {missed} missed of {passed}"
        assert confirmed + missed == passed, counts
        assert confirmed <= len(heard), counts
        return True

    eventually(probe)
