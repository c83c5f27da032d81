"""What is passed to a service, wrapped: it works as ever, and there are steps to die at."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import psycopg

from services.syncer.core import ObservedWatermark, Publication, Watermark
from services.syncer.projection import Answer, Projection
from shared import keydb
from shared.amqp import ticks
from shared.amqp.consumer import Consumer
from tests.faults.kill_orders import Dying

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


class MortalConnection:
    """Steps `before NAME`, `after NAME`, `before COMMIT of NAME` and `after COMMIT of NAME`.

    A transaction has the name of the last statement in it that has one.
    """

    def __init__(
        self, conn: psycopg.Connection, dying: Dying, names: Mapping[str, Statement]
    ) -> None:
        self._conn, self._dying, self._names = conn, dying, names
        self._depth = 0
        self._last: Statement | None = None
        self._in_hand = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._conn, name)

    def execute(self, query: str, params: Any = None, **options: Any) -> Any:
        statement = self._names.get(query)
        if statement is None:
            return self._conn.execute(cast("Any", query), params, **options)
        statement = statement.given(params)
        self._last, self._in_hand = statement, statement.weigh(params)
        self._dying.at(f"before {statement.name}", self._in_hand)
        done = self._conn.execute(cast("Any", query), params, **options)
        self._dying.at(f"after {statement.name}", self._in_hand)
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
                    self._dying.at(f"before COMMIT of {self._last.name}", self._in_hand)
        finally:
            self._depth -= 1
        if outermost and self._last:
            self._dying.at(f"after COMMIT of {self._last.name}", self._in_hand)

    def as_connection(self) -> psycopg.Connection:
        """Return itself under the type that services ask for."""
        return cast("psycopg.Connection", self)


class MortalConsumer:
    """Steps `message received`, `before ack` and `after ack`, the latter once it was sent."""

    def __init__(self, broker: Consumer, dying: Dying) -> None:
        self._broker, self._dying = broker, dying
        self._acked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def consume(self, queue: str, *, on_message: Callable[..., None], **options: Any) -> None:
        def received(*message: Any) -> None:
            on_message(*message)
            self._dying.at("message received")

        self._broker.consume(queue, on_message=received, **options)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        self._dying.at("before ack")
        self._broker.ack(tag, multiple=multiple)
        self._acked += 1

    def poll(self, timeout_s: float, on_piece: Callable[[], bool] | None = None) -> None:
        acked, self._acked = self._acked, 0
        self._broker.poll(timeout_s, on_piece)
        self._dying.at("after ack", acked)


class MortalBroker:
    """Steps `before publish`, `after publish`, `before ack` and `after ack` of ticks."""

    def __init__(self, broker: ticks.Broker, dying: Dying) -> None:
        self._broker, self._dying = broker, dying

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def publish(self, body: bytes, *, expires_s: int) -> None:
        self._dying.at("before publish")
        self._broker.publish(body, expires_s=expires_s)
        self._dying.at("after publish")

    def ack(self, tag: int) -> None:
        self._dying.at("before ack")
        self._broker.ack(tag)
        self._dying.at("after ack")


class MortalProjection(Projection):
    """Steps `watermark read`, `before script`, `after script`, and `chunk sent`.

    When the order is to die between chunks, there are as many as that takes.
    """

    def __init__(self, client: keydb.Client, dying: Dying) -> None:
        super().__init__(client)
        self._dying = dying
        self._usual = self._chunk

    def read(self) -> ObservedWatermark:
        observed = super().read()
        self._dying.at("watermark read")
        return observed

    def apply(self, publication: Publication) -> Answer:
        changes = len(publication.values) + len(publication.removals)
        in_chunks = changes > 1 and self._dying.ordered("chunk sent")
        self._chunk = -(-changes // CHUNKS) if in_chunks else self._usual
        return super().apply(publication)

    def _run(
        self,
        expected: tuple[str, str],
        target: Watermark,
        changes: list[tuple[str, str | None]],
        **known: bool,
    ) -> Answer:
        self._dying.at("before script", len(changes))
        answer = super()._run(expected, target, changes, **known)
        if answer.verdict != "fenced":
            last = not target.token.startswith("partial:")
            self._dying.at("after script" if last else "chunk sent", len(changes))
        return answer
