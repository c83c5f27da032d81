"""A place between pika's transport and its protocol, by an interface that pika documents.

`pika.adapters.utils.nbio_interface` is for I/O services other than pika's own.
"""

from collections.abc import Callable
from socket import socket
from ssl import SSLContext
from typing import Any

from pika.adapters.select_connection import IOLoop
from pika.adapters.utils.nbio_interface import AbstractIOReference, AbstractStreamProtocol
from pika.adapters.utils.selector_ioloop_adapter import SelectorIOServicesAdapter


class HookedServices(SelectorIOServicesAdapter):
    """pika's own I/O services for one connection."""

    def __init__(self, loop: IOLoop, hook: Callable[[AbstractStreamProtocol], None]) -> None:
        """`hook` may replace methods of pika's protocol before the transport gets it."""
        super().__init__(loop)  # type: ignore[arg-type]  # its stub lacks a parameter
        self._hook = hook

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], AbstractStreamProtocol],
        sock: socket,
        on_done: Callable[[Any], None],
        ssl_context: SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> AbstractIOReference:
        """As pika's, with the hook called once for each attempt to connect."""

        def hooked() -> AbstractStreamProtocol:
            protocol = protocol_factory()
            self._hook(protocol)
            return protocol

        return super().create_streaming_connection(
            hooked, sock, on_done, ssl_context=ssl_context, server_hostname=server_hostname
        )
