"""What is passed to a service, wrapped: it works as ever, and there are steps to die at."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import psycopg

from services.syncer.core import ObservedWatermark, Publication, Watermark
from services.syncer.projection import Projection, ScriptResult
from shared import keydb
from shared.amqp import ticks
from shared.amqp.consumer import Consumer
from shared.amqp.publisher import Message, Publisher
from shared.amqp.topic import Fates, TopicPublisher
from shared.amqp.topic import Message as Notification
from tests.faults.kill_orders import KillOrders

CHUNKS = 3


@dataclass(frozen=True)
class Statement:
    """A statement with a name. Parameters say how much work is in hand, and which kind it is."""

    name: str
    weigh: Callable[[Any], int] = lambda _: 1
    kind: Callable[[Any], str] = lambda _: ""

    def given(self, params: Any) -> "Statement":
        """Return it under the name that it has with these parameters."""
        return replace(self, name=f"{self.kind(params)}{self.name}")


class KillableConnection:
    """Steps `before NAME`, `after NAME`, `before COMMIT of NAME` and `after COMMIT of NAME`.

    A transaction has the name of the last statement in it that has one.
    """

    def __init__(
        self, conn: psycopg.Connection, orders: KillOrders, names: Mapping[str, Statement]
    ) -> None:
        self._conn, self._orders, self._names = conn, orders, names
        self._depth = 0
        self._last: Statement | None = None
        self._in_hand = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        # One that is composed each time, with a cursor's name say, is none of them.
        statement = self._names.get(query) if isinstance(query, str) else None
        if statement is None:
            return self._conn.execute(query, params, **options)
        statement = statement.given(params)
        self._last, self._in_hand = statement, statement.weigh(params)
        self._orders.at(f"before {statement.name}", self._in_hand)
        done = self._conn.execute(query, params, **options)
        self._orders.at(f"after {statement.name}", self._in_hand)
        return done

    @contextlib.contextmanager
    def transaction(self) -> Iterator[psycopg.Transaction]:
        outermost = self._depth == 0
        if outermost:
            self._last = None
        self._depth += 1
        try:
            with self._conn.transaction() as one:
                yield one
                if outermost and self._last:
                    self._orders.at(f"before COMMIT of {self._last.name}", self._in_hand)
        finally:
            self._depth -= 1
        if outermost and self._last:
            self._orders.at(f"after COMMIT of {self._last.name}", self._in_hand)

    def as_connection(self) -> psycopg.Connection:
        """Return itself under the type that services ask for."""
        return cast("psycopg.Connection", self)


class KillableConsumer:
    """Steps `message received`, `before ack` and `after ack`, the latter once it was sent."""

    def __init__(self, broker: Consumer, orders: KillOrders) -> None:
        self._broker, self._orders = broker, orders
        self._acked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def consume(self, queue: str, *, on_message: Callable[..., None], **options: Any) -> None:
        def received(*message: Any) -> None:
            on_message(*message)
            self._orders.at("message received")

        self._broker.consume(queue, on_message=received, **options)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._orders.at("before ack")
        self._broker.ack(tag, multiple=multiple)
        self._acked += 1

    def poll(self, timeout_s: float, on_piece: Callable[[], bool] | None = None) -> None:
        acked, self._acked = self._acked, 0
        self._broker.poll(timeout_s, on_piece)
        self._orders.at("after ack", acked)


class KillableBroker:
    """Steps `before publish`, `after publish`, `before ack`, `after ack` (once sent) of ticks."""

    def __init__(self, broker: ticks.Broker, orders: KillOrders) -> None:
        self._broker, self._orders = broker, orders
        self._acked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def publish_tick(self, body: bytes, *, expires_s: int) -> None:
        self._orders.at("before publish")
        self._broker.publish_tick(body, expires_s=expires_s)
        self._orders.at("after publish")

    def ack(self, tag: int) -> None:
        self._orders.at("before ack")
        self._broker.ack(tag)
        self._acked += 1

    def next_tick(self, timeout_s: float) -> ticks.Delivered | None:
        acked, self._acked = self._acked, 0
        delivered = self._broker.next_tick(timeout_s)
        self._orders.at("after ack", acked)
        return delivered


class KillablePublisher:
    """Steps `events published`, `events confirmed`, `closing published`, `closing confirmed`.

    The last two are of `tick.closed`, which comes by itself.
    """

    def __init__(self, publisher: Publisher, orders: KillOrders) -> None:
        self._publisher, self._orders = publisher, orders
        self._is_closing = False
        self._events = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publisher, name)

    def publish_all(
        self, exchange: str, messages: Sequence[Message], to: str | None = None
    ) -> None:
        self._is_closing = bool(messages) and messages[-1].name == "tick.closed"
        self._events = 1 if self._is_closing else self._events + len(messages)
        self._publisher.publish_all(exchange, messages, to)
        self._orders.at("closing published" if self._is_closing else "events published")

    def flush(self) -> None:
        self._publisher.flush()
        self._orders.at(
            "closing confirmed" if self._is_closing else "events confirmed", self._events
        )
        self._events = 0


class KillableTopicPublisher:
    """Steps `before publish` and `after confirm` of notifications."""

    def __init__(self, publisher: TopicPublisher, orders: KillOrders) -> None:
        self._publisher, self._orders = publisher, orders

    def __getattr__(self, name: str) -> Any:
        return getattr(self._publisher, name)

    def send(self, messages: Sequence[Notification], stop: threading.Event) -> Fates:
        self._orders.at("before publish", len(messages))
        fates = self._publisher.send(messages, stop)
        self._orders.at("after confirm", len(messages))
        return fates


class KillableProjection(Projection):
    """Steps `watermark read`, `before script`, `after script`, and `chunk sent`.

    When the order is to die between chunks, there are as many as that takes.
    """

    def __init__(self, client: keydb.Client, orders: KillOrders) -> None:
        super().__init__(client)
        self._orders = orders
        self._usual = self._chunk

    def read(self) -> ObservedWatermark:
        observed = super().read()
        self._orders.at("watermark read")
        return observed

    def apply(self, publication: Publication) -> ScriptResult:
        changes = len(publication.values) + len(publication.removals)
        in_chunks = changes > 1 and self._orders.ordered("chunk sent")
        self._chunk = -(-changes // CHUNKS) if in_chunks else self._usual
        return super().apply(publication)

    def _run(
        self,
        expected: tuple[str, str],
        target: Watermark,
        changes: list[tuple[str, str | None]],
        hint: str = "",
    ) -> ScriptResult:
        self._orders.at("before script", len(changes))
        result = super()._run(expected, target, changes, hint)
        if result.outcome != "fenced":
            last = not target.token.startswith("partial:")
            self._orders.at("after script" if last else "chunk sent", len(changes))
        return result
