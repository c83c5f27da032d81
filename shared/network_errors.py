"""What networks and TLS do to connections, in texts that say more than an error's class."""

import socket
import ssl
from collections.abc import Iterator

Descriptions = tuple[tuple[type[BaseException], str], ...]

DESCRIPTIONS: Descriptions = (
    (socket.gaierror, "host name not found"),
    (ConnectionRefusedError, "connection refused"),
    (TimeoutError, "no answer in time"),
    (ConnectionError, "the connection was cut"),
)


def describe(error: BaseException, of_library: Descriptions = ()) -> str:
    """Return the class of an error, and what caused it; `of_library` describes a library's own."""
    known = of_library + DESCRIPTIONS
    found = (said for one in _causes(error) for kind, said in known if isinstance(one, kind))
    said = next(found, "")
    return f"{type(error).__name__} ({said})" if said else type(error).__name__


def tls_objection(error: BaseException) -> str | None:
    """Return what TLS objected to; None if that was not the cause."""
    for one in _causes(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {one.verify_message}"
        if isinstance(one, ssl.SSLError):
            return f"TLS failed ({(one.reason or 'no reason').replace('_', ' ').lower()})"
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what caused it, wherever libraries keep that."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, (list, tuple)):
            waiting += one
        elif isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, one.__context__, one.args]
            waiting += [getattr(one, name, None) for name in ("exception", "exceptions")]
