"""What programs that serve HTTP by uvicorn have in common: its socket, and who stops it."""

import contextlib
import logging
import socket
from collections.abc import Iterator

import uvicorn

from shared.errors import Refusal


class Server(uvicorn.Server):
    """Uvicorn, without signals and without messages of its own: we say ourselves what matters."""

    def __init__(self, config: uvicorn.Config) -> None:
        """`config` says how it serves."""
        logging.getLogger("uvicorn").addHandler(logging.NullHandler())
        logging.getLogger("uvicorn").propagate = False
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `shared.program`."""
        yield


@contextlib.contextmanager
def listening(host: str, port: int, setting: str) -> Iterator[socket.socket]:
    """Open the port, which `setting` names, while inside. Raises `Refusal` if somebody has it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        opened = socket.create_server((host, port), family=family, backlog=1024,
                                      dualstack_ipv6=host == "::")  # fmt: skip
    except OSError as error:
        raise Refusal(f"{setting} {port} cannot be opened: {error.strerror}") from error
    with opened:
        yield opened
