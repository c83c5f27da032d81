"""The upper bound: pika receives and acknowledges, nothing is decoded and nothing is stored."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pika
from pika.adapters.blocking_connection import BlockingChannel

from bench.peers import broker

PREFETCH = 2000
ACK_EVERY = 500


def main() -> None:
    """Receive and acknowledge `BENCH_MESSAGES` messages.

    With `BENCH_RECEIVED` it writes to that file when each came (seconds since the epoch), and
    acknowledges whatever has come at the latest every 100 ms.
    """
    record = os.environ.get("BENCH_RECEIVED")
    received: list[float] = []
    count = 0

    def on_message(
        channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        _properties: pika.BasicProperties,
        _body: bytes,
    ) -> None:
        nonlocal count
        count += 1
        if record:
            received.append(time.time())
        if count % ACK_EVERY == 0 or count == broker.MESSAGES:
            channel.basic_ack(method.delivery_tag or 0, multiple=True)
        if count == broker.MESSAGES:
            channel.stop_consuming()

    with broker.channel(prefetch=PREFETCH) as channel:
        channel.basic_consume(broker.QUEUE, on_message)
        print(broker.CONSUMING, flush=True)
        channel.start_consuming()
    if record:
        Path(record).write_text("\n".join(map(repr, received)))
    broker.settled()
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()


if __name__ == "__main__":
    main()
