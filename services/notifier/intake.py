"""The queues that the notifier reads, each by a thread with connections of its own.

They do not wait for ticks: alerts and prices are stored, and answers noted, whatever the follower
does.
"""

import contextlib
import threading
from collections.abc import Iterator
from functools import partial

from services.notifier import answers, prices, records
from shared import postgres, settings
from shared.alert import HistorySettings
from shared.amqp.consumer import Consumer
from shared.health import Health
from shared.queue_worker import MESSAGES, Connectors, Handle, QueueWorker
from shared.shard import ONLY, Shard

NAME = "notifier-queue"
"""What servers see these connections by."""

OUTCOMES = ("applied", "ignored", "unfit")


class IntakeSettings(settings.PostgresSettings, settings.RabbitmqSettings, HistorySettings):
    """What reading them needs."""


def handlers(history_s: int, shard: Shard = ONLY) -> dict[str, Handle]:
    """Return what acts on the messages of each queue: the service's way, and a replay's.

    A dead letter is replayed only to the queue that it came from.
    """
    return {
        shard.name(records.QUEUE): partial(records.apply, history_s=history_s),
        shard.name(answers.QUEUE): answers.note,
        shard.name(prices.QUEUE): prices.apply,
    }


def count_from_nought(shard: Shard = ONLY) -> None:
    """Have each queue's series from the start: a first message that made one is no increase."""
    for queue in handlers(0, shard):
        for outcome in OUTCOMES:
            MESSAGES.labels(queue, outcome)


@contextlib.contextmanager
def reading(chosen: IntakeSettings, health: Health, stop: threading.Event) -> Iterator[None]:
    """Read all of them while inside; on the way out each finishes what it has received."""
    connectors = Connectors(
        partial(postgres.connection, chosen, application=NAME),
        partial(Consumer.connected, chosen, name=NAME),
    )
    count_from_nought(chosen.own_shard)
    with contextlib.ExitStack() as stack:
        for queue, handle in handlers(chosen.history_s, chosen.own_shard).items():
            worker = QueueWorker(queue, handle, connectors, health, stop)
            stack.enter_context(worker.running())
        yield
