"""Publishes at a steady pace, in small bursts every few milliseconds, and notes when."""

import os
import time
from pathlib import Path

import pika

from bench.ground import PROVIDERS, ordinary
from bench.peers import broker

PAUSE_S = 0.002


def main() -> None:
    """Publish `BENCH_MESSAGES` at `BENCH_PER_S`; write the times to the file `BENCH_PUBLISHED`."""
    pace = float(os.environ["BENCH_PER_S"])
    providers = int(os.environ.get("BENCH_PROVIDERS", PROVIDERS))
    published: list[float] = []
    with broker.channel(prefetch=1) as channel:
        channel.queue_declare(broker.QUEUE, durable=True)
        begun = time.monotonic()
        for body, identity in ordinary(broker.MESSAGES, providers):
            while len(published) > (time.monotonic() - begun) * pace:
                channel.connection.sleep(PAUSE_S)
            published.append(time.time())
            channel.basic_publish(
                "",
                broker.QUEUE,
                body,
                pika.BasicProperties(delivery_mode=2, message_id=identity),
            )
    Path(os.environ["BENCH_PUBLISHED"]).write_text("\n".join(map(repr, published)))


if __name__ == "__main__":
    main()
