"""Between pika's transport and protocol: pika misses the deliveries and nothing else.

And what is written in one turn of the loop goes out in one piece, in order, or not at all.
"""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pika
import pytest
from pika import frame, spec
from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport
from pika.exceptions import AMQPHeartbeatTimeout

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


class Transport(AbstractStreamTransport):
    """Notes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        raise AssertionError

    def get_protocol(self) -> AbstractStreamProtocol:
        raise AssertionError

    def get_write_buffer_size(self) -> int:
        raise AssertionError


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


class Loop(IOLoop):
    """Notes what is to be done in its next turn."""

    def __init__(self) -> None:
        super().__init__()
        self.soon: list[Callable[[], object]] = []

    def add_callback(self, callback: Callable[[], object]) -> None:
        self.soon.append(callback)


@pytest.fixture
def loop() -> Iterator[Loop]:
    with contextlib.closing(Loop()) as made:
        yield made


@pytest.fixture
def protocol() -> Protocol:
    return Protocol()


@pytest.fixture
def pieces() -> list[None]:
    """One for each piece of data of which the loop was told."""
    return []


@pytest.fixture
def tap(loop: Loop, protocol: Protocol, pieces: list[None]) -> ProtocolTap:
    made = ProtocolTap(loop, lambda: pieces.append(None))
    made.tapped(protocol)
    return made


@pytest.fixture
def transport(tap: ProtocolTap, protocol: Protocol) -> Transport:
    """What pika connected with; `tap` and `protocol` know it."""
    made = Transport()
    protocol.connection_made(made)
    assert tap.write == made.write
    return made


def test_a_heartbeat_is_one_that_pika_would_write() -> None:
    assert frame.Heartbeat().marshal() == HEARTBEAT


def test_a_stream_of_deliveries_keeps_pika_from_taking_the_broker_for_dead(
    tap: ProtocolTap, protocol: Protocol, pieces: list[None]
) -> None:
    handler = Handler()
    tap.deliveries.start(1, handler)
    for _ in range(100):
        tap.data_received(DELIVERY)
    assert handler.bodies == [b"{}"] * 100
    assert set(protocol.seen) == {HEARTBEAT}
    assert len(pieces) == 100


def test_the_rest_and_the_ends_of_the_connection_reach_pika(
    tap: ProtocolTap, protocol: Protocol, transport: Transport
) -> None:
    tap.deliveries.start(1, Handler())
    error = OSError()
    protocol.data_received(ACK + DELIVERY + CANCEL)
    assert protocol.eof_received()
    protocol.connection_lost(error)
    assert protocol.seen == [
        ("made", transport), ACK, CANCEL, HEARTBEAT, "eof", ("lost", error)
    ]  # fmt: skip


def test_a_bug_is_kept_for_whoever_runs_the_loop_and_nothing_is_taken_after_it(
    tap: ProtocolTap,
) -> None:
    handler = Handler(buggy=True)
    tap.deliveries.start(1, handler)
    tap.data_received(DELIVERY)
    tap.data_received(DELIVERY)
    assert isinstance(tap.failure, Bug)
    assert handler.bodies == [b"{}"]


def test_frames_of_one_turn_are_sent_in_one_piece(
    tap: ProtocolTap, transport: Transport, loop: Loop
) -> None:
    for one in (b"method", b"header", b"body"):
        tap.write(one)

    assert transport.written == []
    (send,) = loop.soon
    send()
    assert transport.written == [b"methodheaderbody"]


def test_the_next_turn_is_asked_for_again(
    tap: ProtocolTap, transport: Transport, loop: Loop
) -> None:
    for one in (b"one", b"two"):
        tap.write(one)
        loop.soon.pop()()

    assert transport.written == [b"one", b"two"]


def test_nothing_is_sent_after_an_abort(loop: Loop) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)  # noqa: FBT003 - the socket's own signature
    tap, made = ProtocolTap(loop, lambda: None), list[Any]()
    with far:
        tap.create_streaming_connection(protocol_factory=Protocol, sock=near, on_done=made.append)
        while not made:
            loop.soon.pop(0)()
        ((transport, _),) = made
        transport.write(b"before")
        loop.soon.pop()()
        transport.write(b"frame")
        transport.abort()
        while loop.soon:
            loop.soon.pop(0)()
        assert far.recv(100) == b""

        tap.silent_max_s = -1.0
        with tap.listening(0.0):
            pass
        assert isinstance(tap.failure, AMQPHeartbeatTimeout), "said, though pika was first"
