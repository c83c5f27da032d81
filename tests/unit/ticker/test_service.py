"""What the ticker does with boundaries, given a broker and a clock."""

import threading
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from services.ticker.__main__ import Ticker
from shared import tick
from shared.amqp import ticks
from shared.errors import Unavailable
from shared.health import Health

START = 1_800_000_000


@dataclass
class Clock:
    now: float = START

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeBroker(ticks.Broker):
    """Takes ticks, or loses its connection; polling lets time pass."""

    clock: Clock
    broken: bool = False
    sent: list[tick.Tick] = field(default_factory=list)

    def poll(self, timeout_s: float, _on_piece: object = None) -> None:
        self.clock.now += timeout_s

    def publish_tick(self, body: bytes, *, expires_s: int) -> None:
        if self.broken:
            raise Unavailable("rabbitmq", "gone")
        self.sent.append(tick.decode(body))


def missed() -> float:
    return REGISTRY.get_sample_value("minutebook_ticks_missed_total") or 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ticker(clock: Clock) -> Ticker:
    return Ticker(60, Health(), threading.Event(), clock)


def test_a_boundary_is_published_when_its_time_has_come_and_not_before(
    ticker: Ticker, clock: Clock
) -> None:
    broker = FakeBroker(clock)
    clock.now = START + 59.2
    assert ticker.run_once(broker) is None
    assert broker.sent == []
    clock.now = START + 60
    assert ticker.run_once(broker) == START + 60
    assert [sent.boundary.timestamp() for sent in broker.sent] == [START + 60]
    assert broker.sent[0].interval_s == 60


def test_waiting_keeps_the_connection_alive_and_stops_short_of_the_boundary(
    ticker: Ticker, clock: Clock
) -> None:
    broker = FakeBroker(clock)
    while START + 60 - clock.now > 0.1:
        before = clock.now
        assert ticker.run_once(broker) is None
        assert 0 < clock.now - before <= 0.5
    assert clock.now < START + 60


def test_a_boundary_that_could_not_be_published_is_not_taken_for_published(
    ticker: Ticker, clock: Clock
) -> None:
    clock.now = START + 60
    with pytest.raises(Unavailable):
        ticker.run_once(FakeBroker(clock, broken=True))
    assert ticker.run_once(FakeBroker(clock)) == START + 60


def test_a_boundary_missed_is_counted_once_also_when_publishing_the_next_fails(
    ticker: Ticker, clock: Clock
) -> None:
    before = missed()
    clock.now = START + 180
    with pytest.raises(Unavailable):
        ticker.run_once(FakeBroker(clock, broken=True))
    assert ticker.run_once(FakeBroker(clock)) == START + 180
    assert missed() - before == 2


def test_once_told_to_stop_it_publishes_no_more(clock: Clock) -> None:
    stop = threading.Event()
    broker = FakeBroker(clock)
    ticker = Ticker(60, Health(), stop, clock)
    clock.now = START + 60
    stop.set()
    assert ticker.run_once(broker) is None
    assert broker.sent == []
