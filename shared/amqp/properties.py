"""A message's properties as AMQP 0-9-1 encodes them (§4.2.5 and §4.2.6.1), read when asked for.

Most messages are only asked for their `message_id`, and nothing else of them is decoded. Whatever a
producer sends is read: a time beyond the year 9999 stays a number, text that is not UTF-8 stays
bytes, and a table that makes no sense is said to be one, by the message that carries it alone.
"""

import struct
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from itertools import count
from typing import Final

FLAGS = struct.Struct(">H")
LENGTH = struct.Struct(">I")
TIME = struct.Struct(">Q")
DECIMAL = struct.Struct(">Bi")
MORE_FLAGS = 1
DEPTH_MAX = 32
"""Tables within tables; a producer's mistake or malice beyond that."""

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
        encoded = self.encoded
        before = _before_message_id(encoded[:2])
        if before is None:
            return None
        at = 2
        try:
            for kind in before:
                at = at + 1 if kind == OCTET else _after(kind, encoded, at)
            return _short(encoded, at)
        except (IndexError, struct.error) as error:
            raise MalformedProperties(str(error)) from error

    @property
    def headers(self) -> Mapping[str, object] | None:
        """The headers, their values decoded. Raises `MalformedProperties`."""
        found = dict(self._entries()).get("headers")
        return found if isinstance(found, Mapping) else None

    def all(self) -> dict[str, object]:
        """Return all that are set, by name; what is garbled is kept as the bytes it came in."""
        found: dict[str, object] = {}
        try:
            found.update(self._entries())  # up to where it makes no sense
        except MalformedProperties:
            found["garbled"] = self.encoded
        return found

    def _entries(self) -> Iterator[tuple[str, object]]:
        encoded, at = self.encoded, 2
        flags = _flags(encoded)
        try:
            for place, (name, kind) in enumerate(FIELDS):
                if flags & 0x8000 >> place:
                    yield name, _value(kind, encoded, at)
                    at = _after(kind, encoded, at)
        except (IndexError, struct.error) as error:
            raise MalformedProperties(str(error)) from error


def unlike(found: Mapping[str, object], name: str) -> str:
    """Return `name`, or where it is taken `name#5`: the fifth of its table, of the same name.

    The first of a name keeps it: RabbitMQ looks a header up so, too.
    """
    if name not in found:
        return name
    placed = (f"{name}#{place}" for place in count(len(found) + 1))
    return next(one for one in placed if one not in found)


def _flags(encoded: bytes) -> int:
    if len(encoded) < FLAGS.size:
        raise MalformedProperties("no flags")
    flags = int.from_bytes(encoded[:2])
    if flags & MORE_FLAGS:
        raise MalformedProperties("more flags than there are properties")
    return flags


@lru_cache(maxsize=256)
def _before_message_id(start: bytes) -> tuple[int, ...] | None:
    """Return the kinds of the values that stand before the message_id, None if there is none."""
    flags = _flags(start)
    names = [name for name, _ in FIELDS]
    place = names.index("message_id")
    if not flags & 0x8000 >> place:
        return None
    return tuple(kind for at, (_, kind) in enumerate(FIELDS[:place]) if flags & 0x8000 >> at)


def _after(kind: int, encoded: bytes, at: int) -> int:
    if kind == SHORT:
        return at + 1 + encoded[at]
    if kind == OCTET:
        return at + 1
    return at + (8 if kind == TIMESTAMP else 4 + _length(encoded, at))


def _value(kind: int, encoded: bytes, at: int) -> object:
    if kind == SHORT:
        return _short(encoded, at)
    if kind == OCTET:
        return encoded[at]
    if kind == TIMESTAMP:
        return int(
            TIME.unpack_from(encoded, at)[0]
        )  # Unix seconds, or what a producer takes them for
    return Table(encoded).table(at, DEPTH_MAX)[0]


def _short(encoded: bytes, at: int) -> str | bytes:
    return _text(_cut(encoded, at + 1, encoded[at]))


def _length(encoded: bytes, at: int) -> int:
    return int(LENGTH.unpack_from(encoded, at)[0])


def _time(encoded: bytes, at: int) -> datetime | int:
    seconds = int(TIME.unpack_from(encoded, at)[0])
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return seconds  # milliseconds, most likely, which the standard does not allow


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def _cut(encoded: bytes, start: int, size: int) -> bytes:
    if start + size > len(encoded):
        raise MalformedProperties("a length beyond the end")
    return encoded[start : start + size]


class Table:
    """Field tables and arrays within `encoded`; each method returns a value and where it ends."""

    def __init__(self, encoded: bytes) -> None:
        """Positions are those in `encoded`."""
        self._encoded = encoded

    def table(self, at: int, depth: int) -> tuple[dict[str, object], int]:
        """Return the table whose length stands at `at`."""
        end = self._end(at, depth)
        found: dict[str, object] = {}
        at += 4
        while at < end:
            size = self._encoded[at]
            name = _cut(self._encoded, at + 1, size).decode("utf-8", "surrogateescape")
            name = unlike(found, name)
            found[name], at = self._value(at + 1 + size, depth)
        return found, self._at_end(at, end)

    def _array(self, at: int, depth: int) -> tuple[list[object], int]:
        end = self._end(at, depth)
        found: list[object] = []
        at += 4
        while at < end:
            value, at = self._value(at, depth)
            found.append(value)
        return found, self._at_end(at, end)

    def _value(self, at: int, depth: int) -> tuple[object, int]:
        kind = self._encoded[at : at + 1]
        at += 1
        number = NUMBERS.get(kind)
        if number is not None:
            return number.unpack_from(self._encoded, at)[0], at + number.size
        if kind in (b"S", b"x"):
            raw = _cut(self._encoded, at + 4, _length(self._encoded, at))
            return raw if kind == b"x" else _text(raw), at + 4 + len(raw)
        if kind == b"F":
            return self.table(at, depth - 1)
        if kind == b"A":
            return self._array(at, depth - 1)
        return self._rare_value(kind, at)

    def _rare_value(self, kind: bytes, at: int) -> tuple[object, int]:
        if kind == b"V":
            return None, at
        if kind == b"T":
            return _time(self._encoded, at), at + TIME.size
        if kind == b"D":
            scale, unscaled = DECIMAL.unpack_from(self._encoded, at)
            return Decimal(unscaled).scaleb(-scale), at + DECIMAL.size
        raise MalformedProperties(f"a field of the unknown type {kind!r}")

    def _end(self, at: int, depth: int) -> int:
        if depth <= 0:
            raise MalformedProperties("nested too deeply")
        size = _length(self._encoded, at)
        if at + 4 + size > len(self._encoded):
            raise MalformedProperties("a length beyond the end")
        return at + 4 + size

    @staticmethod
    def _at_end(at: int, end: int) -> int:
        if at != end:
            raise MalformedProperties("a length that its values do not have")
        return at
