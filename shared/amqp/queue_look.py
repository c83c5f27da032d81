"""What a broker says of itself and of queues to someone who only looks: nothing is declared."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.amqp import consumer
from shared.amqp.link import QueueState
from shared.settings import RabbitmqSettings


@dataclass(frozen=True, slots=True)
class Look:
    """A broker's version, and its queues by name: None where there is no such queue."""

    version: str
    queues: dict[str, QueueState | None]


def look(settings: RabbitmqSettings, queues: Sequence[str], *, name: str) -> Look:
    """Ask the broker for its version and the state of `queues`. Raises `Unavailable`."""
    with consumer.connection(settings, name=name) as broker:
        return Look(broker.version, {queue: broker.look(queue) for queue in queues})
