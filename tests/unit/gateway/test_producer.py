"""The producer between many who wait and one thread, without a broker."""

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from services.gateway import producer as gateway_producer
from services.gateway.producer import Outgoing, Producer
from shared.amqp.direct import DirectPublisher, Submission
from shared.errors import Unavailable
from shared.health import Health
from tests.support.beside import beside
from tests.support.eventually import eventually

MESSAGE = Outgoing("requests", "order-1", b"{}")
MANY = 50
TIMEOUT_S = 30.0
WITHIN_S = 0.5


class Broker:
    """A connection whose broker confirms only what it is told to."""

    def __init__(self, *, confirms: bool) -> None:
        self.confirms = confirms
        self.silent = ""
        self.batches: list[int] = []
        self._in_flight: list[Submission] = []
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def open_exchange(self, _exchange: str) -> None:
        pass

    def when_blocked(self, _on_change: Callable[[str | None], None]) -> None:
        pass

    def from_thread(self, call: Callable[[], None]) -> None:
        self._calls.put(call)

    def submit(self, messages: Sequence[Submission]) -> None:
        self.batches.append(len(messages))
        self._in_flight += messages

    def poll(self, _timeout_s: float, on_piece: Callable[[], bool]) -> None:
        with contextlib.suppress(queue.Empty):
            self._calls.get(timeout=0.01)()
        if self.confirms:
            for one in self.forget():
                if one.routing_key == self.silent:
                    self._in_flight.append(one)
                else:
                    one.settle(None)
            on_piece()

    @property
    def kept(self) -> int:
        return len(self._in_flight)

    def overdue(self, before: float) -> list[Submission]:
        return [one for one in self._in_flight if one.submitted_at < before]

    def forget(self) -> list[Submission]:
        left, self._in_flight = self._in_flight, []
        return left


@contextlib.contextmanager
def producing(broker: Broker, within_s: float, health: Health | None = None) -> Iterator[Producer]:
    stop, health = threading.Event(), health or Health()
    connect = cast(
        "Callable[[], Any]", lambda: contextlib.nullcontext(cast("DirectPublisher", broker))
    )
    producer = Producer(connect, health, stop, within_s)
    with beside(producer.live, stop.set):
        while "rabbitmq" in health.problems():
            stop.wait(0.01)
        yield producer


class Looked(Health):
    """Health at whose good news it is tried whether a message would be taken."""

    def __init__(self) -> None:
        super().__init__()
        self.producer: Producer | None = None
        self.refused: list[Unavailable] = []

    def progress(self, part: str) -> None:
        super().progress(part)
        try:
            if self.producer:
                self.producer.check()
        except Unavailable as error:
            self.refused.append(error)


def test_who_sees_that_all_is_well_may_publish_at_once() -> None:
    stop, health, broker = threading.Event(), Looked(), Broker(confirms=True)
    connect = cast("Callable[[], Any]", lambda: contextlib.nullcontext(broker))
    health.producer = Producer(connect, health, stop)
    thread = threading.Thread(target=health.producer.live)
    thread.start()
    while "rabbitmq" in health.problems():
        stop.wait(0.01)
    stop.set()
    thread.join()

    assert health.refused == []


async def publish(producer: Producer) -> None:
    await asyncio.wait_for(producer.publish([MESSAGE], None, {}), TIMEOUT_S)


def test_what_gets_no_confirm_in_time_is_not_known_and_nothing_is_taken_until_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gateway_producer, "SILENCES_MAX", math.inf)
    broker, health = Broker(confirms=False), Health()

    async def publish_until_it_confirms(producer: Producer) -> None:
        for _ in range(3):
            with pytest.raises(Unavailable, match=r"no confirm in 0\.1 s"):
                await publish(producer)
        assert broker.kept == 1
        said = await asyncio.to_thread(eventually, lambda: health.problems().get("rabbitmq"))
        assert "no confirm" in str(said)
        broker.confirms = True
        await asyncio.to_thread(eventually, lambda: not health.problems())
        await publish(producer)

    with producing(broker, 0.1, health) as producer:
        asyncio.run(publish_until_it_confirms(producer))


def test_a_queue_that_confirms_nothing_holds_up_no_other_and_ends_no_connection() -> None:
    broker, health = Broker(confirms=True), Health()
    broker.silent = "sightings"
    seen = Outgoing("sightings", "seen-1", b"{}")

    async def publish_both(producer: Producer) -> None:
        begun = time.monotonic()
        given_up = asyncio.ensure_future(producer.publish([seen], None, {}))
        while time.monotonic() - begun < 1.5 * gateway_producer.SILENCES_MAX * WITHIN_S:
            await publish(producer)
        with pytest.raises(Unavailable, match="no confirm in"):
            await given_up
        with pytest.raises(Unavailable, match="no confirm in"):
            await producer.publish([seen], None, {})
        assert broker.kept == 1
        async with asyncio.timeout(TIMEOUT_S):
            while health.problems():
                await publish(producer)

    with producing(broker, WITHIN_S, health) as producer:
        asyncio.run(publish_both(producer))


def test_a_connection_over_which_no_confirm_comes_at_all_is_given_up_with_what_it_holds() -> None:
    broker = Broker(confirms=False)

    async def publish_until_it_is_lost(producer: Producer) -> None:
        with pytest.raises(Unavailable):
            await publish(producer)
        await asyncio.to_thread(eventually, lambda: not broker.kept)
        with pytest.raises(Unavailable, match="no connection"):
            await publish(producer)

    with producing(broker, within_s=0.1) as producer:
        asyncio.run(publish_until_it_is_lost(producer))


def test_who_waits_when_the_connection_ends_is_told_that_it_is_not_known() -> None:
    async def wait(producer: Producer, ending: contextlib.ExitStack) -> None:
        waiting = asyncio.create_task(producer.publish([MESSAGE], None, {}))
        await asyncio.sleep(0)
        await asyncio.to_thread(ending.close)
        await waiting

    with contextlib.ExitStack() as stack:
        producer = stack.enter_context(producing(Broker(confirms=False), within_s=60))
        with pytest.raises(Unavailable, match="the connection was lost"):
            asyncio.run(wait(producer, stack))
        with pytest.raises(Unavailable, match="no connection"):
            producer.check()


def test_those_who_publish_at_once_are_handed_over_together() -> None:
    async def all_at_once(producer: Producer) -> None:
        await asyncio.gather(*(producer.publish([MESSAGE], None, {}) for _ in range(MANY)))

    broker = Broker(confirms=True)
    with producing(broker, within_s=60) as producer:
        asyncio.run(all_at_once(producer))

    assert sum(broker.batches) == MANY
    assert len(broker.batches) < MANY
