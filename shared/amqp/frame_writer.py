"""A connection that frames of our own can be written to, behind what pika wrote and by its way."""

from pika.adapters.utils.nbio_interface import AbstractStreamProtocol, AbstractStreamTransport

from shared.amqp.channel import Channel


class FrameWriter(Channel):
    """One connection, one channel."""

    _transport: AbstractStreamTransport

    def _hook(self, protocol: AbstractStreamProtocol) -> None:
        made = protocol.connection_made

        def connected(transport: AbstractStreamTransport) -> None:
            self._transport = transport
            made(transport)

        protocol.connection_made = connected  # type: ignore[method-assign]
        super()._hook(protocol)
