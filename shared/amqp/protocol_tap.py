"""Sits between pika's transport and its protocol, by an interface that pika documents.

Deliveries are taken out of what the broker sends before pika decodes them; pika gets all else. What
is written in one turn of the loop goes out in one piece: pika hands each frame to the kernel by
itself, three for a message, and the broker wakes up for each of them.
"""

import time
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import (
    AbstractIOReference,
    AbstractStreamProtocol,
    AbstractStreamTransport,
)
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

from shared.amqp.delivery_parser import DeliveryParser

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
HEARTBEAT_EVERY_S = 1.0


class ProtocolTap(SelectorIOServicesAdapter):
    """pika's own I/O services, for one connection."""

    _to_pika: Callable[[bytes], None]
    _to_broker: Callable[[bytes], None]

    def __init__(self, loop: IOLoop, on_piece: Callable[[], None]) -> None:
        """`on_piece` is called after each piece of data that came."""
        super().__init__(loop)  # type: ignore[arg-type]  # its stub lacks a parameter
        self.deliveries = DeliveryParser(lambda data: self._to_pika(data))  # noqa: PLW0108 - set later
        self.failure: Exception | None = None
        """What `on_message` raised; nothing is taken after it."""
        self._soon = loop.add_callback
        self._on_piece = on_piece
        self._unsent: list[bytes] = []
        self._heartbeat_at = 0.0

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        *arguments: Any,  # noqa: ANN401 - pika's own
        **options: Any,  # noqa: ANN401 - pika's own
    ) -> AbstractIOReference:
        """As pika's, with the tap between the two."""
        return super().create_streaming_connection(
            lambda: self.tapped(protocol_factory()), *arguments, **options
        )

    def tapped(self, protocol: AbstractStreamProtocol) -> AbstractStreamProtocol:
        """Return pika's protocol, which from now on reads and writes by us."""
        made, self._to_pika = protocol.connection_made, protocol.data_received

        def connection_made(transport: AbstractStreamTransport) -> None:
            self._to_broker = transport.write
            transport.write = self.write  # type: ignore[method-assign]
            made(transport)

        protocol.connection_made = connection_made  # type: ignore[method-assign]
        protocol.data_received = self.data_received  # type: ignore[method-assign]
        return protocol

    def data_received(self, data: bytes) -> None:
        """Take the next piece from the transport."""
        if self.failure:
            return
        try:
            self.deliveries.feed(data)
        except Exception as error:  # noqa: BLE001 - pika would take it for a broken connection
            self.failure = error
        self._show_life()
        self._on_piece()

    def write(self, data: bytes) -> None:
        """Take data that is sent in the next turn of the loop, with all that comes until then."""
        if not self._unsent:
            self._soon(self._send)
        self._unsent.append(data)

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        self._to_broker(b"".join(unsent))

    def _show_life(self) -> None:
        # A broker that is busy delivering sends no heartbeats, and pika sees no delivery.
        now = time.monotonic()
        if self.deliveries.started and now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_EVERY_S
            self._to_pika(HEARTBEAT)
