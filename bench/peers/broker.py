"""What the peers in Python share: a pika channel as plain as can be, and their settings."""

import contextlib
import os
from collections.abc import Iterator

import pika
from pika.adapters.blocking_connection import BlockingChannel

QUEUE = os.environ.get("BENCH_QUEUE", "incoming_transactions")
MESSAGES = int(os.environ.get("BENCH_MESSAGES", "0"))
SETTLED = "settled"
"""What a peer prints once it has acknowledged `BENCH_MESSAGES`."""
CONSUMING = "consuming"
"""What a peer prints once the broker has taken it for a consumer."""


@contextlib.contextmanager
def channel(*, prefetch: int) -> Iterator[BlockingChannel]:
    """Open a channel to `RABBITMQ_URL` with this prefetch."""
    parameters = pika.URLParameters(os.environ["RABBITMQ_URL"])
    with contextlib.closing(pika.BlockingConnection(parameters)) as connection:
        opened = connection.channel()
        opened.basic_qos(prefetch_count=prefetch)
        yield opened


def settled() -> None:
    """Say that all is acknowledged. The process stays, so that its figures can still be read."""
    print(SETTLED, flush=True)
