"""Frames that are written in one turn of the loop go out together.

pika hands each frame to the kernel by itself, three for a message, and the broker wakes up for
each of them.
"""

from collections.abc import Callable

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport

from shared.amqp.protocol_proxy import ProtocolProxy, ProxiedServices


def services() -> ProxiedServices:
    """Return pika's own I/O services with a loop of their own, for one connection that gathers."""
    loop = IOLoop()
    return ProxiedServices(loop, lambda protocol: CoalescingProxy(protocol, loop.add_callback))


class CoalescingProxy(ProtocolProxy):
    """What the transport takes for the protocol."""

    def __init__(
        self, protocol: AbstractStreamProtocol, soon: Callable[[Callable[[], None]], object]
    ) -> None:
        """`soon` has something done in the next turn of the loop."""
        super().__init__(protocol)
        self._soon = soon

    def connection_made(self, transport: AbstractStreamTransport) -> None:
        """Give the protocol a transport that gathers."""
        self.protocol.connection_made(CoalescingTransport(transport, self._soon))


class CoalescingTransport(AbstractStreamTransport):
    """What the protocol takes for the transport."""

    def __init__(
        self,
        transport: AbstractStreamTransport,
        soon: Callable[[Callable[[], None]], object],
    ) -> None:
        """`transport` is pika's."""
        self._transport = transport
        self._soon = soon
        self._gathered: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take data that is sent in the next turn of the loop, with all that comes until then."""
        if not self._gathered:
            self._soon(self._send)
        self._gathered.append(data)

    def abort(self) -> None:
        """Give the connection up, and what was not sent with it."""
        self._gathered.clear()
        self._transport.abort()

    def get_protocol(self) -> AbstractStreamProtocol:
        """Return what the transport takes for the protocol."""
        return self._transport.get_protocol()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not sent yet."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._gathered))

    def _send(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._transport.write(b"".join(gathered))
