"""The syncer's loop with the test as its thread, and the ticks that it is given."""

import contextlib
from collections.abc import Iterator
from datetime import datetime

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pydantic import Secret

from services.syncer.loop import Loop, Turn
from services.syncer.service import Syncer
from shared import tick
from shared.amqp import ticks
from shared.health import Health
from shared.settings import RabbitmqSettings
from tests.support import ledger


class Clock:
    """A wall clock that the test moves; at first a second after minute 2."""

    def __init__(self) -> None:
        self.now = ledger.minute(2).timestamp() + 1

    def __call__(self) -> float:
        """Return Unix seconds."""
        return self.now


@contextlib.contextmanager
def connected(url: str) -> Iterator[ticks.Broker]:
    """Open the syncer's connection to the broker."""
    with ticks.Broker.connected(RabbitmqSettings(rabbitmq_url=Secret(url)), name="test") as broker:
        yield broker


@contextlib.contextmanager
def ticker(amqp_url: str) -> Iterator[BlockingChannel]:
    """Declare the queue of ticks and open a channel to publish them."""
    with (
        connected(amqp_url) as broker,
        contextlib.closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection,
    ):
        broker.declare_queue()
        yield connection.channel()


@contextlib.contextmanager
def active(syncer: Syncer, amqp_url: str, channel: BlockingChannel, clock: Clock) -> Iterator[Loop]:
    """Make a loop to which the queue has given its first tick, that of minute 2."""
    with connected(amqp_url) as broker:
        loop = Loop(syncer, broker, Health(), 0.05, clock)
        loop.start()
        send(channel, 2)
        assert turns(loop).count("tick") == 1
        yield loop


def send(channel: BlockingChannel, number: int, name: str = "test") -> datetime:
    """Publish the tick of a minute as the ticker `name` does; returns its boundary."""
    boundary = ledger.minute(number)
    channel.basic_publish(ticks.EXCHANGE, "", tick.encode(tick.Tick(boundary, 60, name)))
    return boundary


def turns(loop: Loop) -> list[Turn]:
    """Return what a loop does until nothing comes any more."""
    return [loop.run_once() for _ in range(8)]
