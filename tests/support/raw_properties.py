"""AMQP properties put together by hand, also those that a client library refuses to encode."""

import struct
from collections.abc import Sequence

import pika

CONTENT_TYPE, HEADERS, DELIVERY_MODE, CORRELATION_ID = 0x8000, 0x2000, 0x1000, 0x0400
MESSAGE_ID, TIMESTAMP, APP_ID = 0x0080, 0x0040, 0x0008
PERSISTENT = 2


class Encoded(pika.BasicProperties):
    """Properties that are sent as these bytes, whatever they are."""

    def __init__(self, raw: bytes) -> None:
        super().__init__()
        self._raw = raw

    def encode(self) -> list[bytes]:
        """Return them as pika puts them into a content header."""
        return [self._raw]


def properties(
    *,
    message_id: bytes | None = None,
    entries: bytes | None = None,
    timestamp: int | None = None,
    text: bytes | None = None,
) -> bytes:
    """Return flags and values; `entries` are the headers, `text` is for a few of the others."""
    parts = [
        (CONTENT_TYPE, None if text is None else short(text)),
        (HEADERS, None if entries is None else sized(entries)),
        (DELIVERY_MODE, bytes([PERSISTENT])),
        (CORRELATION_ID, None if text is None else short(text)),
        (MESSAGE_ID, None if message_id is None else short(message_id)),
        (TIMESTAMP, None if timestamp is None else struct.pack(">Q", timestamp)),
        (APP_ID, None if text is None else short(text)),
    ]
    flags = sum(flag for flag, value in parts if value is not None)
    return struct.pack(">H", flags) + b"".join(value for _, value in parts if value is not None)


def short(raw: bytes) -> bytes:
    """Return a short string: up to 255 bytes."""
    return bytes([len(raw)]) + raw


def sized(raw: bytes) -> bytes:
    """Return what a long string, a table or an array is: its length, then itself."""
    return struct.pack(">I", len(raw)) + raw


def entry(name: bytes, kind: bytes, value: bytes) -> bytes:
    """Return one entry of a table."""
    return short(name) + kind + value


def text_entry(name: bytes, value: bytes) -> bytes:
    """Return an entry that holds a long string."""
    return entry(name, b"S", sized(value))


def nested(kinds: Sequence[bytes]) -> bytes:
    """Return an entry `h` with a table (`F`) or array (`A`) within another, the first outermost."""
    value = b"V"
    for kind in reversed(kinds):
        value = kind + sized(short(b"h") + value if kind == b"F" else value)
    return short(b"h") + value
