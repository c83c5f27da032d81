"""Takes deliveries out of what a broker sends, before pika decodes them; pika gets all else."""

import time
from collections.abc import Callable

from pika.adapters.utils.nbio_interface import AbstractStreamProtocol

from shared.amqp.delivery_parser import DeliveryParser

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
HEARTBEAT_EVERY_S = 1.0


class ProtocolTap:
    """Put before a protocol of pika's: what arrives is parsed here first."""

    def __init__(self, protocol: AbstractStreamProtocol, received: Callable[[], None]) -> None:
        """`received` is called after each piece of data."""
        self._to_pika = protocol.data_received
        protocol.data_received = self.data_received  # type: ignore[method-assign]
        self.deliveries = DeliveryParser(self._to_pika)
        self.failure: Exception | None = None
        """What `on_message` raised; nothing is taken after it."""
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
        if self.deliveries.started and now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_EVERY_S
            self._to_pika(HEARTBEAT)
