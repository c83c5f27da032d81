"""Publishes at a steady rate, in small bursts every few milliseconds, and notes when.

By pika's asynchronous connection, a burst in one piece: its blocking one takes longer for a message
than ingest does, and frame by frame the broker would work for the load more than for ingest.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pika
from pika.adapters.select_connection import IOLoop
from pika.channel import Channel

from bench.ground import PROVIDERS, Message, ordinary
from bench.peers import broker
from shared.amqp.protocol_tap import ProtocolTap

PAUSE_S = 0.005
BURST_MAX = 200
EXCHANGE = os.environ.get("BENCH_EXCHANGE", "")
KEY = os.environ.get("BENCH_KEY", broker.QUEUE)


class Publisher:
    """One connection; `published` are the times of the messages, in seconds since the epoch."""

    def __init__(self, messages: Iterator[Message], rate: float) -> None:
        """Nothing is sent before `run`."""
        self.published: list[float] = []
        self._messages = messages
        self._rate = rate
        self._begun = 0.0
        self._connection = pika.SelectConnection(
            pika.URLParameters(os.environ["RABBITMQ_URL"]),
            on_open_callback=self._opened,
            custom_ioloop=ProtocolTap(IOLoop(), lambda: None),
        )

    def run(self) -> None:
        """Publish all of them."""
        self._connection.ioloop.start()

    def _opened(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._ready)

    def _ready(self, channel: Channel) -> None:
        channel.queue_declare(broker.QUEUE, durable=True, callback=lambda _: self._burst(channel))
        self._begun = time.monotonic()

    def _burst(self, channel: Channel) -> None:
        due = (time.monotonic() - self._begun) * self._rate
        for _ in range(BURST_MAX):
            if len(self.published) > due:
                break
            message = next(self._messages, None)
            if message is None:
                channel.add_on_close_callback(lambda *_: self._connection.ioloop.stop())
                channel.close()
                return
            body, identity = message
            self.published.append(time.time())
            properties = pika.BasicProperties(delivery_mode=2, message_id=identity)
            channel.basic_publish(EXCHANGE, KEY, body, properties)
        behind = len(self.published) < due
        self._connection.ioloop.call_later(0 if behind else PAUSE_S, lambda: self._burst(channel))


def main() -> None:
    """Publish `BENCH_MESSAGES` at `BENCH_PER_S`; write the times to the file `BENCH_PUBLISHED`."""
    providers = int(os.environ.get("BENCH_PROVIDERS", PROVIDERS))
    identities = os.environ.get("BENCH_IDENTITIES", "random")
    messages = ordinary(broker.MESSAGES, providers, identities)
    publisher = Publisher(messages, float(os.environ["BENCH_PER_S"]))
    publisher.run()
    Path(os.environ["BENCH_PUBLISHED"]).write_text("\n".join(map(repr, publisher.published)))


if __name__ == "__main__":
    main()
