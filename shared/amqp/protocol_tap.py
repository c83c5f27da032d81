"""A tap between pika's transport and its protocol, through which deliveries are drawn off.

pika sees every other frame as if nothing were in between.
"""

import time
from collections.abc import Callable

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import AbstractStreamProtocol

from shared.amqp.delivery_parser import DeliveryParser, OnMessage
from shared.amqp.protocol_proxy import ProtocolProxy, ProxiedServices

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
HEARTBEAT_EVERY_S = 1.0


class TappedServices(ProxiedServices):
    """pika's own I/O services for one connection, tapped."""

    def __init__(self, loop: IOLoop) -> None:
        """`loop` stops after each piece that came, unless `on_piece` wants it to go on."""
        super().__init__(loop, self._tapped)
        self._loop = loop
        self._tap: ProtocolTap | None = None
        self.on_piece: Callable[[], bool] = at_each_piece

    @property
    def failure(self) -> Exception | None:
        """What `on_message` raised; nothing was taken after it."""
        return self._tap.failure if self._tap else None

    def draw(self, channel: int, on_message: OnMessage) -> None:
        """Have `on_message` take the deliveries of `channel` from now on."""
        if self._tap:
            self._tap.deliveries.take(channel, on_message)

    def close_tap(self) -> None:
        """Draw nothing off any more."""
        if self._tap:
            self._tap.deliveries.stop()

    def _tapped(self, protocol: AbstractStreamProtocol) -> "ProtocolTap":
        self._tap = ProtocolTap(protocol, self._received)
        return self._tap

    def _received(self) -> None:
        if self.failure or not self.on_piece():
            self._loop.stop()


class ProtocolTap(ProtocolProxy):
    """What the transport takes for the protocol."""

    def __init__(self, protocol: AbstractStreamProtocol, received: Callable[[], None]) -> None:
        """`protocol` is pika's; `received` is called after each piece."""
        super().__init__(protocol)
        self.deliveries = DeliveryParser(protocol.data_received)
        self.failure: Exception | None = None
        self._received = received
        self._heartbeat_at = 0.0

    def data_received(self, data: bytes) -> None:
        """Take the next piece from the transport."""
        if self.failure:
            return
        try:
            self.deliveries.feed(data)
        except Exception as error:  # noqa: BLE001 - pika would take it for a broken connection
            self.failure = error
        self._show_life()
        self._received()

    def _show_life(self) -> None:
        # A broker that is busy delivering sends no heartbeats, and pika sees no delivery.
        now = time.monotonic()
        if self.deliveries.wanted and now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_EVERY_S
            self.protocol.data_received(HEARTBEAT)


def at_each_piece() -> bool:
    """Have the loop stop after each piece."""
    return False
