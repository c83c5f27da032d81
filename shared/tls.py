"""Encryption, with a server that proves who it is, or none: nothing in between.

Whoever encrypts without checking the certificate and the host name speaks to anybody, and does
not know it. No setting turns the checks off, and what URLs could say of them is refused.
"""

import ssl
from collections.abc import Iterator


def context(ca_file: str, cert_file: str = "", key_file: str = "") -> ssl.SSLContext:
    """Return how to connect: PEM files of trusted authorities (or the system's), and of our own.

    Raises `OSError` (`ssl.SSLError` is one) for files that are missing or hold something else.
    """
    made = ssl.create_default_context(cafile=ca_file or None)
    if cert_file:
        made.load_cert_chain(cert_file, key_file or None)
    return made


def words(error: BaseException) -> str | None:
    """Return what TLS had to object to, in words for a person; None if that was not it."""
    for one in causes(error):
        if isinstance(one, ssl.SSLCertVerificationError):
            return f"its certificate is refused: {one.verify_message}"
        if isinstance(one, ssl.SSLError):
            return f"TLS failed ({(one.reason or 'no reason').replace('_', ' ').lower()})"
    return None


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and what it came of, wherever libraries keep that."""
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
