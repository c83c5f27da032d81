"""What is fuzzed: each target reads bytes of anybody's and fails with whatever should not be.

None needs the fuzzer: the unit tests run them, too.
"""

import contextlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pika

from shared.amqp import amqp_json
from shared.amqp.delivery_parser import DeliveryParser
from shared.amqp.properties import MalformedProperties, Properties
from shared.errors import Unavailable
from shared.transaction_body import Limits, decode
from shared.unfit import Unfit
from tests.support import hostile_messages, oracle

CHANNEL = 1
SEEDS = 300
SEED_BYTES_MAX = 1000
LIMITS = Limits(oracle.BODY_MAX)

Seen = tuple[list[tuple[Any, ...]], bytes, bool]


@dataclass(frozen=True, slots=True)
class Target:
    """A function to fuzz, what to begin with, and words worth trying."""

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    words: tuple[bytes, ...] = ()
    bytes_max: int = 4096


def body(data: bytes) -> None:
    """Decode a body: the verdict is that of an independent reading, and nothing else is raised."""
    try:
        found: oracle.Verdict = decode(data, LIMITS)[:2]
    except Unfit as unfit:
        found = unfit.reason
    expected = oracle.body.__wrapped__(data)
    assert found == expected, f"{found} instead of {expected}"


def content(data: bytes) -> None:
    """Read properties: malformed at worst, never lost, and pika reads the same identity."""
    found = Properties(data)
    kept = amqp_json.encode(found.all())
    assert isinstance(json.loads(kept, parse_constant=_refuse), dict)
    assert "\\u0000" not in kept.replace("\\\\", ""), "jsonb takes no NUL"
    with contextlib.suppress(MalformedProperties):
        _ = found.message_id
    with contextlib.suppress(MalformedProperties):
        _ = found.headers  # pika reads on where a table ends in the middle of an entry
        _same_as_pika(found.message_id, data)


def _refuse(name: str) -> None:
    raise AssertionError(name)


def _same_as_pika(message_id: object, data: bytes) -> None:
    theirs = pika.BasicProperties()
    try:
        theirs.decode(data)
    except Exception:  # noqa: BLE001 - it raises whatever it stumbles over
        return
    assert message_id == theirs.message_id, f"{message_id!r} instead of {theirs.message_id!r}"


def frames(data: bytes) -> None:
    """Cut deliveries out: the same from any pieces, and each that was whole comes out whole."""
    whole = seen([data])
    assert seen(data[at : at + 1] for at in range(len(data))) == whole
    half = len(data) // 2
    assert seen([data[:half], data[half:]]) == whole
    stream, expected = written(data)
    sizes = [1 + size % 40 for size in data] or [1]
    assert seen(pieces(stream, sizes))[0] == expected


@dataclass
class Taken:
    """What came out of a connection."""

    messages: list[tuple[Any, ...]] = field(default_factory=list)
    rest: bytearray = field(default_factory=bytearray)

    def message(self, tag: int, redelivered: Any, found: Properties, text: bytes) -> None:  # noqa: ANN401 - a bool, in the order of a delivery
        """Note one delivery."""
        self.messages.append((tag, redelivered, found.encoded, text))


def seen(parts: Iterable[bytes]) -> Seen:
    """Return the messages, all else, and whether the connection was ended for what it said."""
    taken = Taken()
    deliveries = DeliveryParser(taken.rest.extend)
    deliveries.start(CHANNEL, taken.message)
    try:
        for part in parts:
            deliveries.feed(part)
    except Unavailable:
        return taken.messages, bytes(taken.rest), True
    return taken.messages, bytes(taken.rest), False


def written(data: bytes) -> tuple[bytes, list[tuple[Any, ...]]]:
    """Return deliveries as a broker writes them, with sizes and contents out of `data`."""
    stream, messages = b"", []
    for tag, at in enumerate(range(0, len(data), 16)):
        part = data[at : at + 16]
        text, encoded = part[1:] * (part[0] % 4), b"\0\0" + part[:3]
        method = struct.pack(">HHB1sQB", 60, 60, 1, b"c", tag, part[0] & 1) + b"\0\0"
        stream += framed(1, method)
        stream += framed(2, struct.pack(">HHQ", 60, 0, len(text)) + encoded)
        step = 5 + part[-1] % 50
        for start in range(0, len(text), step):
            stream += framed(8, b"", 0) * (part[0] & 2 > 0)
            stream += framed(3, text[start : start + step])
        messages.append((tag, bool(part[0] & 1), encoded, text))
    return stream, messages


def framed(kind: int, payload: bytes, channel: int = CHANNEL) -> bytes:
    """Return a frame."""
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def pieces(stream: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Yield a stream in pieces of these sizes, again and again."""
    at = number = 0
    while at < len(stream):
        size = sizes[number % len(sizes)]
        yield stream[at : at + size]
        at, number = at + size, number + 1


def bodies() -> Iterator[bytes]:
    """Yield small hostile bodies."""
    for message in hostile_messages.Source(0).messages(SEEDS):
        if len(message.text) <= SEED_BYTES_MAX:
            yield message.text


def contents() -> Iterator[bytes]:
    """Yield small hostile properties."""
    for message in hostile_messages.Source(0).messages(SEEDS):
        if len(message.encoded) <= SEED_BYTES_MAX:
            yield message.encoded


def streams() -> Iterator[bytes]:
    """Yield the frames of some deliveries."""
    for text in bodies():
        yield written(text[:16])[0]


JSON_WORDS = (
    b'"id"', b'"value"', b'{"id":', b',"value":', b"9223372036854775807", b"-9223372036854775808",
    b"NaN", b"Infinity", b"true", b"null", b"\\u0069d", b"\\ud800", b"1e3", b"\xef\xbb\xbf",
)  # fmt: skip
TARGETS = {
    "body": Target(body, bodies, JSON_WORDS),
    "content": Target(content, contents, (b"\x20\x00", b"\x00\x80", b"F\0\0\0\0", b"A\0\0\0\0")),
    "frames": Target(
        frames, streams, (b"\x00\x3c\x00\x3c", b"\xce\x01\x00\x01", b"\xce\x02\x00\x01")
    ),
}
