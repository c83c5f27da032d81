"""What the gateway and the tracker's intake publish by, wrapped as in `kill_points.py`."""

from collections.abc import Callable, Sequence
from typing import Any

from shared.amqp.confirms import Failure
from shared.amqp.direct import DirectPublisher, Submission
from shared.amqp.publisher import Message, Publisher
from shared.errors import Unavailable
from tests.faults.kill_orders import KillOrders
from tests.faults.kill_points import KillableConsumer


class KillableRelay(KillableConsumer):
    """The steps of a consumer, and `items published` and `items confirmed`."""

    def __init__(self, relay: Publisher, orders: KillOrders) -> None:
        super().__init__(relay, orders)
        self._relay = relay
        self._items = 0

    def publish_all(
        self,
        exchange: str,
        messages: Sequence[Message],
        to: str | None = None,
        *,
        mandatory: bool = False,
    ) -> None:
        self._relay.publish_all(exchange, messages, to, mandatory=mandatory)
        self._items += len(messages)
        self._orders.at("items published", self._items)

    def flush(self) -> None:
        self._relay.flush()
        items, self._items = self._items, 0
        self._orders.at("items confirmed", items)


class KillableDirectPublisher:
    """Steps `before publish` and `after confirm`: whoever waits is not told any more."""

    def __init__(self, publisher: DirectPublisher, orders: KillOrders) -> None:
        self._publisher, self._orders = publisher, orders

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publisher, name)

    def submit(self, these: Sequence[Submission]) -> None:
        self._orders.at("before publish", len(these))
        self._publisher.submit([one._replace(settle=self._settling(one)) for one in these])

    def _settling(self, one: Submission) -> Callable[[Failure | Unavailable | None], None]:
        def settle(answer: Failure | Unavailable | None) -> None:
            self._orders.at("after confirm", int(answer is None))
            one.settle(answer)

        return settle
