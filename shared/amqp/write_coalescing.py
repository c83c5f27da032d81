"""Frames that are written in one turn of the loop go out together.

pika hands each frame to the kernel by itself, three for a message, and the broker wakes up for
each of them.
"""

from collections.abc import Callable

from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport

Soon = Callable[[Callable[[], None]], object]
"""Has something done in the next turn of the loop."""


def coalesce(protocol: AbstractStreamProtocol, soon: Soon) -> None:
    """Have pika's `protocol` write by a `CoalescingTransport`."""
    made = protocol.connection_made
    protocol.connection_made = (  # type: ignore[method-assign]
        lambda transport: made(CoalescingTransport(transport, soon))
    )


class CoalescingTransport(AbstractStreamTransport):
    """What the protocol takes for the transport."""

    def __init__(self, transport: AbstractStreamTransport, soon: Soon) -> None:
        """`transport` is pika's."""
        self._transport = transport
        self._soon = soon
        self._unsent: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take data that is sent in the next turn of the loop, with all that comes until then."""
        if not self._unsent:
            self._soon(self._send)
        self._unsent.append(data)

    def abort(self) -> None:
        """Give the connection up, and what was not sent with it."""
        self._unsent.clear()
        self._transport.abort()

    def get_protocol(self) -> AbstractStreamProtocol:
        """Return what the transport takes for the protocol."""
        return self._transport.get_protocol()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not sent yet."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._unsent))

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        if unsent:
            self._transport.write(b"".join(unsent))
