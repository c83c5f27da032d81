"""The frames of a persistent JSON message, as AMQP 0-9-1 has them (sections 4.2.3 to 4.2.6).

pika takes several times as long for them: it encodes each frame from objects. Here all that is
the same for many messages is encoded once. `tests/unit/shared` compares them with pika's own.
"""

import struct
from functools import lru_cache

import pika

HEADER_END = BODY_END = b"\xce"
BASIC = 60
HEADER, BODY = 2, 3
BODY_BYTES_MAX = 4096 - 8
"""Of one frame: the smallest limit that a broker may have, less what is around a body."""
CONTENT_TYPE, HEADERS, DELIVERY_MODE, MESSAGE_ID, TYPE = 1 << 15, 1 << 13, 1 << 12, 1 << 7, 1 << 5
"""Flags of the properties that follow, in this order."""
PLAIN = CONTENT_TYPE | DELIVERY_MODE | MESSAGE_ID | TYPE
JSON = b"\x10application/json"
PERSISTENT = b"\x02"

_header = struct.Struct(">BHIHHQH").pack
_frame = struct.Struct(">BHI").pack
_longstr = struct.Struct(">I").pack


@lru_cache(maxsize=256)
def method(channel: int, exchange: str, routing_key: str, *, mandatory: bool = False) -> bytes:
    """Return the frame of the method that comes first: the same for many messages."""
    publish = pika.spec.Basic.Publish(
        exchange=exchange, routing_key=routing_key, mandatory=mandatory
    )
    return pika.frame.Method(channel, publish).marshal()


@lru_cache(maxsize=256)
def shortstr(text: str) -> bytes:
    """Return a short string: 255 bytes at most, else `ValueError`."""
    encoded = text.encode()
    return bytes((len(encoded),)) + encoded


def content(
    channel: int, name: str, message_id: str, body: bytes, traceparent: str | None
) -> bytes:
    """Return the frames of properties and body; `name` is the property `type`."""
    identity = message_id.encode()
    properties = b"".join(
        (
            JSON,
            b"" if traceparent is None else _headers(traceparent.encode()),
            PERSISTENT,
            bytes((len(identity),)),
            identity,
            shortstr(name),
        )
    )
    flags = PLAIN if traceparent is None else PLAIN | HEADERS
    size = len(properties) + 14
    header = _header(HEADER, channel, size, BASIC, 0, len(body), flags)
    return b"".join((header, properties, HEADER_END, *_bodies(channel, body)))


def _headers(traceparent: bytes) -> bytes:
    value = b"S" + _longstr(len(traceparent)) + traceparent
    table = shortstr("traceparent") + value
    return _longstr(len(table)) + table


def _bodies(channel: int, body: bytes) -> list[bytes]:
    if len(body) <= BODY_BYTES_MAX:  # most of them
        return [_frame(BODY, channel, len(body)), body, BODY_END]
    parts = (body[at : at + BODY_BYTES_MAX] for at in range(0, len(body), BODY_BYTES_MAX))
    return [one for part in parts for one in (_frame(BODY, channel, len(part)), part, BODY_END)]
