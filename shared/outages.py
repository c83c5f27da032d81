"""What networks do to connections, in words: the class of an error says little to most people."""

import socket

from shared import tls

WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "nobody has this host's name"),
    (ConnectionRefusedError, "nobody listens there"),
    (TimeoutError, "no answer in time"),
    (ConnectionError, "the connection was cut"),
)


def named(error: BaseException) -> str:
    """Return the class of an error, and in words what it came of, as far as that is known."""
    found = (said for one in tls.causes(error) for kind, said in WORDS if isinstance(one, kind))
    said = next(found, "")
    return f"{type(error).__name__} ({said})" if said else type(error).__name__
