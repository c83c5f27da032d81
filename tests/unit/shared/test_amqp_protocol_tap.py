"""Between pika's transport and protocol: pika misses the deliveries and nothing else."""

from dataclasses import dataclass, field
from typing import Any

import pika
import pytest
from pika import frame, spec
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol

from shared.amqp.properties import Properties
from shared.amqp.protocol_tap import HEARTBEAT, ProtocolTap

CANCEL = frame.Method(1, spec.Basic.Cancel("c")).marshal()
ACK = frame.Method(1, spec.Basic.Ack(7)).marshal()
DELIVERY = b"".join(
    one.marshal()
    for one in (
        frame.Method(1, spec.Basic.Deliver("c", 1, exchange="", routing_key="q")),
        frame.Header(1, 2, pika.BasicProperties()),
        frame.Body(1, b"{}"),
    )
)


@dataclass
class Protocol(AbstractStreamProtocol):
    """Remembers what reached it."""

    seen: list[Any] = field(default_factory=list)

    def connection_made(self, transport: object) -> None:
        self.seen.append(("made", transport))

    def connection_lost(self, error: BaseException | None) -> None:
        self.seen.append(("lost", error))

    def eof_received(self) -> bool | None:
        self.seen.append("eof")
        return True

    def data_received(self, data: bytes) -> None:
        self.seen.append(data)


class Bug(Exception):
    """What a handler of messages should not do."""


@dataclass
class Handler:
    """Takes messages, or has a bug."""

    buggy: bool = False
    bodies: list[bytes] = field(default_factory=list)

    def __call__(self, tag: int, redelivered: Any, properties: Properties, body: bytes) -> None:
        self.bodies.append(body)
        if self.buggy:
            raise Bug


@pytest.fixture
def protocol() -> Protocol:
    return Protocol()


def tapped(protocol: Protocol, handler: Handler, received: list[None]) -> ProtocolTap:
    tap = ProtocolTap(protocol, lambda: received.append(None))
    tap.deliveries.start(1, handler)
    return tap


def test_a_heartbeat_is_one_that_pika_would_write() -> None:
    assert frame.Heartbeat().marshal() == HEARTBEAT


def test_a_stream_of_deliveries_keeps_pika_from_taking_the_broker_for_dead(
    protocol: Protocol,
) -> None:
    handler, received = Handler(), []  # type: ignore[var-annotated]
    tap = tapped(protocol, handler, received)
    for _ in range(100):
        tap.data_received(DELIVERY)
    assert handler.bodies == [b"{}"] * 100
    assert set(protocol.seen) == {HEARTBEAT}
    assert len(received) == 100


def test_the_rest_and_the_ends_of_the_connection_reach_pika(protocol: Protocol) -> None:
    tapped(protocol, Handler(), [])
    error = OSError()
    protocol.connection_made(protocol)
    protocol.data_received(ACK + DELIVERY + CANCEL)
    assert protocol.eof_received()
    protocol.connection_lost(error)
    assert protocol.seen == [
        ("made", protocol), ACK, CANCEL, HEARTBEAT, "eof", ("lost", error)
    ]  # fmt: skip


def test_a_bug_is_kept_for_whoever_runs_the_loop_and_nothing_is_taken_after_it(
    protocol: Protocol,
) -> None:
    handler = Handler(buggy=True)
    tap = tapped(protocol, handler, [])
    tap.data_received(DELIVERY)
    tap.data_received(DELIVERY)
    assert isinstance(tap.failure, Bug)
    assert handler.bodies == [b"{}"]
