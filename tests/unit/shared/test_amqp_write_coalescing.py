"""What is written in one turn of the loop goes out in one piece, in order, or not at all."""

from collections.abc import Callable

import pytest
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport

from shared.amqp.write_coalescing import CoalescingTransport

pytestmark = pytest.mark.unit


class Transport(AbstractStreamTransport):
    """Notes what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def abort(self) -> None:
        self.aborted = True

    def get_protocol(self) -> AbstractStreamProtocol:
        raise LookupError("nobody asks")

    def get_write_buffer_size(self) -> int:
        return 100


@pytest.fixture
def transport() -> Transport:
    return Transport()


@pytest.fixture
def turn() -> list[Callable[[], None]]:
    """What is to be done in the next turn of the loop."""
    return []


@pytest.fixture
def gathering(transport: Transport, turn: list[Callable[[], None]]) -> CoalescingTransport:
    return CoalescingTransport(transport, turn.append)


def test_frames_of_one_turn_are_sent_in_one_piece(
    gathering: CoalescingTransport, transport: Transport, turn: list[Callable[[], None]]
) -> None:
    for frame in (b"method", b"header", b"body"):
        gathering.write(frame)

    assert (transport.written, gathering.get_write_buffer_size()) == ([], 100 + 16)
    (send,) = turn
    send()
    assert (transport.written, gathering.get_write_buffer_size()) == ([b"methodheaderbody"], 100)


def test_the_next_turn_is_asked_for_anew(
    gathering: CoalescingTransport, transport: Transport, turn: list[Callable[[], None]]
) -> None:
    for frame in (b"one", b"two"):
        gathering.write(frame)
        turn.pop()()

    assert transport.written == [b"one", b"two"]


def test_nothing_is_sent_after_an_abort(
    gathering: CoalescingTransport, transport: Transport, turn: list[Callable[[], None]]
) -> None:
    gathering.write(b"frame")
    gathering.abort()
    turn.pop()()

    assert (transport.written, transport.aborted) == ([], True)
