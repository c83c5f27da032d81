"""A message's properties as AMQP 0-9-1 encodes them (§4.2.5 and §4.2.6.1), read when asked for.

Most messages are only asked for their `message_id`, and nothing else of them is decoded. Whatever a
producer sends is read: a time beyond the year 9999 stays a number, text that is not UTF-8 stays
bytes, and a table that makes no sense is a fault of the one message that carries it.
"""

import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import count
from typing import Any, Final

FLAGS = struct.Struct(">H")
LENGTH = struct.Struct(">I")
TIME = struct.Struct(">Q")
DECIMAL = struct.Struct(">Bi")
MORE_FLAGS = 1
DEPTH_MAX = 32
"""Tables within tables; deeper ones are a producer's mistake or malice."""

SHORT, TABLE, OCTET, TIMESTAMP = range(4)
FIELDS: Final = (
    ("content_type", SHORT), ("content_encoding", SHORT), ("headers", TABLE),
    ("delivery_mode", OCTET), ("priority", OCTET), ("correlation_id", SHORT), ("reply_to", SHORT),
    ("expiration", SHORT), ("message_id", SHORT), ("timestamp", TIMESTAMP), ("type", SHORT),
    ("user_id", SHORT), ("app_id", SHORT), ("cluster_id", SHORT),
)  # fmt: skip
"""In the order of their bits in the flags, the highest first, and of their values."""

NUMBERS: Final[Mapping[bytes, struct.Struct]] = {
    b"b": struct.Struct(">b"), b"B": struct.Struct(">B"), b"s": struct.Struct(">h"),
    b"U": struct.Struct(">h"), b"u": struct.Struct(">H"), b"I": struct.Struct(">i"),
    b"i": struct.Struct(">I"), b"l": struct.Struct(">q"), b"L": struct.Struct(">q"),
    b"f": struct.Struct(">f"), b"d": struct.Struct(">d"), b"t": struct.Struct(">?"),
}  # fmt: skip
"""The types of one size, as RabbitMQ understands them (its errata to AMQP 0-9-1)."""


class MalformedProperties(ValueError):
    """The properties are not what their flags and lengths say."""


class Properties:
    """The properties of one message; `encoded` is the flags and all after them."""

    __slots__ = ("encoded",)

    def __init__(self, encoded: bytes) -> None:
        """Nothing is decoded yet."""
        self.encoded = encoded

    @property
    def message_id(self) -> str | bytes | None:
        """The identity: text, or bytes if it is not UTF-8. Raises `MalformedProperties`."""
        # Asked for each message: positions instead of a `_Reader`, which takes twice the time.
        encoded = self.encoded
        before = _before_message_id(encoded[:2])
        if before is None:
            return None
        at = 2
        try:
            for kind in before:
                if kind == OCTET:
                    at += 1
                elif kind == SHORT:
                    at += 1 + encoded[at]
                else:
                    at += 4 + LENGTH.unpack_from(encoded, at)[0]
            end = at + 1 + encoded[at]
        except (IndexError, struct.error) as error:
            raise MalformedProperties(str(error)) from error
        if end > len(encoded):
            raise MalformedProperties("a length beyond the end")
        return _text(encoded[at + 1 : end])

    @property
    def headers(self) -> Mapping[str, object] | None:
        """The headers, their values decoded. Raises `MalformedProperties`."""
        found = dict(self._entries()).get("headers")
        return found if isinstance(found, Mapping) else None

    def all(self) -> dict[str, object]:
        """Return all that are set, by name; what is malformed is kept as the bytes it came in."""
        found: dict[str, object] = {}
        try:
            found.update(self._entries())  # up to where it makes no sense
        except MalformedProperties:
            found["garbled"] = self.encoded
        return found

    def _entries(self) -> Iterator[tuple[str, object]]:
        reader = _Reader(self.encoded)
        flags = _known_flags(reader.number(FLAGS))
        for place, (name, kind) in enumerate(FIELDS):
            if flags & 0x8000 >> place:
                yield name, reader.property(kind)


def unused_name(found: Mapping[str, object], name: str) -> str:
    """Return `name`, or where it is taken `name#5`: the fifth of its table, of the same name.

    The first of a name keeps it: RabbitMQ looks a header up so, too.
    """
    if name not in found:
        return name
    placed = (f"{name}#{place}" for place in count(len(found) + 1))
    return next(one for one in placed if one not in found)


@lru_cache(maxsize=256)
def _before_message_id(start: bytes) -> tuple[int, ...] | None:
    """Return the kinds of the values that stand before the message_id, None if there is none."""
    flags = _known_flags(_Reader(start).number(FLAGS))
    place = [name for name, _ in FIELDS].index("message_id")
    if not flags & 0x8000 >> place:
        return None
    return tuple(kind for at, (_, kind) in enumerate(FIELDS[:place]) if flags & 0x8000 >> at)


def _known_flags(flags: int) -> int:
    if flags & MORE_FLAGS:
        raise MalformedProperties("more flags than there are properties")
    return flags


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class _Reader:
    """Takes values off the front of some bytes, one after the other.

    Raises `MalformedProperties` where the bytes end too early, or say what makes no sense.
    """

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded
        self._at = 0

    def property(self, kind: int) -> object:
        if kind == SHORT:
            return _text(self._short())
        if kind == OCTET:
            return self._cut(1)[0]
        if kind == TIMESTAMP:  # Unix seconds, or what a producer takes them for
            return self.number(TIME)
        return _Reader(self._long()).table(DEPTH_MAX)

    def number(self, form: struct.Struct) -> Any:  # noqa: ANN401 - an int, a float or a bool
        return form.unpack(self._cut(form.size))[0]

    def table(self, depth: int) -> dict[str, object]:
        """Return all that is left as a table, with up to `depth` - 1 tables within tables."""
        found: dict[str, object] = {}
        while self._at < len(self._encoded):
            name = unused_name(found, self._short().decode("utf-8", "surrogateescape"))
            found[name] = self._value(depth)
        return found

    def array(self, depth: int) -> list[object]:
        found: list[object] = []
        while self._at < len(self._encoded):
            found.append(self._value(depth))
        return found

    def _value(self, depth: int) -> object:  # noqa: PLR0911 - one line per type
        kind = self._cut(1)
        if number := NUMBERS.get(kind):
            return self.number(number)
        if kind == b"S":
            return _text(self._long())
        if kind == b"x":
            return self._long()
        if kind == b"V":
            return None
        if kind == b"T":
            return _time(self.number(TIME))
        if kind == b"D":
            scale, unscaled = DECIMAL.unpack(self._cut(DECIMAL.size))
            return Decimal(unscaled).scaleb(-scale)
        if kind not in (b"F", b"A"):
            raise MalformedProperties(f"a field of the unknown type {kind!r}")
        if depth <= 1:
            raise MalformedProperties("nested too deeply")
        inner = _Reader(self._long())
        return inner.table(depth - 1) if kind == b"F" else inner.array(depth - 1)

    def _short(self) -> bytes:
        return self._cut(self._cut(1)[0])

    def _long(self) -> bytes:
        return self._cut(self.number(LENGTH))

    def _cut(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._encoded):
            raise MalformedProperties("a length beyond the end")
        return self._encoded[start : self._at]


def _time(seconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return seconds  # milliseconds, most likely, which the standard does not allow
