"""Sits between pika's transport and its protocol, by an interface that pika documents.

Deliveries are taken out of what the broker sends before pika decodes them; pika gets all else. What
is written in one turn of the loop goes out in one piece: pika hands each frame to the kernel by
itself, three for a message, and the broker wakes up for each of them.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import (
    AbstractIOReference,
    AbstractStreamProtocol,
    AbstractStreamTransport,
)
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter
from pika.exceptions import AMQPHeartbeatTimeout

from shared.amqp.connection import HEARTBEAT_S
from shared.amqp.delivery_parser import DeliveryParser

HEARTBEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
HEARTBEAT_EVERY_S = 1.0
SILENT_MAX_S = 2.0 * HEARTBEAT_S
"""While it is listened to, a broker sends data, or else a heartbeat, in half of this."""


class ProtocolTap(SelectorIOServicesAdapter):
    """pika's own I/O services, for one connection."""

    _to_pika: Callable[[bytes], None]
    _to_broker: Callable[[bytes], None]
    _transport: AbstractStreamTransport | None = None
    silent_max_s = SILENT_MAX_S

    def __init__(self, loop: IOLoop, on_piece: Callable[[], None]) -> None:
        """`on_piece` is called after each piece of data that came."""
        super().__init__(loop)  # type: ignore[arg-type]  # its stub lacks a parameter
        self.deliveries = DeliveryParser(lambda data: self._to_pika(data))  # noqa: PLW0108 - set later
        self.failure: Exception | None = None
        """What `on_message` raised, or that the broker is silent; nothing is taken after it."""
        self._io = loop
        self._on_piece = on_piece
        self._unsent: list[bytes] = []
        self._heartbeat_at = 0.0
        self._silent_s, self._heard_at = 0.0, 0.0

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
        made, lost = protocol.connection_made, protocol.connection_lost
        self._to_pika = protocol.data_received

        def connection_made(transport: AbstractStreamTransport) -> None:
            self._transport, self._to_broker = transport, transport.write
            transport.write = self.write  # type: ignore[method-assign]
            made(transport)

        def connection_lost(error: BaseException | None) -> None:
            self._transport = None  # pika may have let go first, and refuses an abort after that
            lost(error)

        protocol.connection_made = connection_made  # type: ignore[method-assign]
        protocol.connection_lost = connection_lost  # type: ignore[method-assign]
        protocol.data_received = self.data_received  # type: ignore[method-assign]
        return protocol

    def data_received(self, data: bytes) -> None:
        """Take the next piece from the transport."""
        self._silent_s, self._heard_at = 0.0, time.monotonic()
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
            self._io.add_callback(self._send)
        self._unsent.append(data)

    @contextlib.contextmanager
    def listening(self, timeout_s: float) -> Iterator[None]:
        """End the loop, which runs inside, after so long; let go of a broker that is silent.

        pika looks once in twice the heartbeat whether anything came since, and takes up to four
        times the heartbeat to notice. What counts is for how long it was listened to, and not for
        how long this process stood still.
        """
        begun = time.monotonic()
        end = self._io.call_later(timeout_s, self._io.stop)
        try:
            yield
        finally:
            self._io.remove_timeout(end)
            now = time.monotonic()
            self._silent_s += min(timeout_s, now - begun, now - self._heard_at)
            if self._silent_s > self.silent_max_s and not self.failure:
                self._give_up()

    def _give_up(self) -> None:
        self.failure = AMQPHeartbeatTimeout(f"nothing came in {self.silent_max_s:g} s")
        if self._transport:
            self._transport.abort()

    def _send(self) -> None:
        unsent, self._unsent = self._unsent, []
        self._to_broker(b"".join(unsent))

    def _show_life(self) -> None:
        # A broker that is busy delivering sends no heartbeats, and pika sees no delivery.
        now = time.monotonic()
        if self.deliveries.started and now >= self._heartbeat_at:
            self._heartbeat_at = now + HEARTBEAT_EVERY_S
            self._to_pika(HEARTBEAT)
