"""What a broker says of itself and of queues to someone who only looks: nothing is declared."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.amqp.channel import Channel
from shared.amqp.connection import QueueState
from shared.settings import RabbitmqSettings


@dataclass(frozen=True, slots=True)
class BrokerStats:
    """A broker's version, and its queues by name: None where there is no such queue."""

    version: str
    queues: dict[str, QueueState | None]


def inspect(settings: RabbitmqSettings, queues: Sequence[str], *, name: str) -> BrokerStats:
    """Ask the broker for its version and the state of `queues`. Raises `Unavailable`."""
    with Channel.connected(settings, name=name) as broker:
        return BrokerStats(broker.version, {queue: broker.inspect(queue) for queue in queues})
