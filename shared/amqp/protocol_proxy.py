"""Something of ours between pika's transport and its protocol.

It is put there by the interface that pika documents for I/O services other than its own
(`pika.adapters.utils.nbio_interface`); neither of the two notices.
"""

from collections.abc import Callable
from socket import socket
from ssl import SSLContext

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import (
    AbstractIOReference,
    AbstractStreamProtocol,
    AbstractStreamTransport,
)
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter

ConnectResult = tuple[AbstractStreamTransport, AbstractStreamProtocol] | BaseException


class ProtocolProxy(AbstractStreamProtocol):
    """What the transport takes for the protocol. It passes everything on."""

    def __init__(self, protocol: AbstractStreamProtocol) -> None:
        """`protocol` is pika's."""
        self.protocol = protocol

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self.protocol.data_received(data)

    def connection_made(self, transport: AbstractStreamTransport) -> None:
        """Pass it on."""
        self.protocol.connection_made(transport)

    def connection_lost(self, error: BaseException | None) -> None:
        """Pass it on."""
        self.protocol.connection_lost(error)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self.protocol.eof_received()


class ProxiedServices(SelectorIOServicesAdapter):
    """pika's own I/O services for one connection, with the proxy that `proxy` makes in it."""

    def __init__(
        self, loop: IOLoop, proxy: Callable[[AbstractStreamProtocol], ProtocolProxy]
    ) -> None:
        """`proxy` is given pika's protocol."""
        super().__init__(loop)  # type: ignore[arg-type]  # its stub lacks a parameter
        self._proxy = proxy

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket,
        on_done: Callable[[ConnectResult], None],
        ssl_context: SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> AbstractIOReference:
        """As pika's, but the transport talks to ours. pika is answered with its own protocol."""
        made: list[ProtocolProxy] = []

        def ours() -> AbstractStreamProtocol:
            made.append(self._proxy(protocol_factory()))
            return made[-1]

        def done(result: ConnectResult) -> None:
            if isinstance(result, tuple):
                result = (result[0], made[-1].protocol)
            on_done(result)

        return super().create_streaming_connection(
            ours, sock, done, ssl_context=ssl_context, server_hostname=server_hostname
        )
