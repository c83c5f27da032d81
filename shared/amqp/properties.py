"""A message's properties as AMQP 0-9-1 encodes them (§4.2.5 and §4.2.6.1), read when asked for.

Most messages are only asked for their `message_id`, and nothing else of them is decoded. Whatever a
producer sends is read: a time beyond the year 9999 stays a number, text that is not UTF-8 stays
bytes, and a table that makes no sense is a fault of the one message that carries it. (pika's own
decoder raises at the first, cuts the fractions off numbers and keeps one of two headers of a name.)
"""

import io
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
MESSAGE_ID = ("message_id", SHORT)

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
        at = FLAGS.size
        try:
            before = _before_message_id(*FLAGS.unpack_from(encoded))
            if before is None:
                return None
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
        for name, kind in _fields(reader.number(FLAGS)):
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
def _before_message_id(flags: int) -> list[int] | None:
    """Return the kinds of the values that stand before the message_id, None if there is none."""
    fields = _fields(flags)
    if MESSAGE_ID not in fields:
        return None
    return [kind for _, kind in fields[: fields.index(MESSAGE_ID)]]


def _fields(flags: int) -> list[tuple[str, int]]:
    """Return the name and kind of each property that is set, in the order of their values."""
    if flags & MORE_FLAGS:
        raise MalformedProperties("more flags than there are properties")
    return [field for place, field in enumerate(FIELDS) if flags & 0x8000 >> place]


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


class _Reader(io.BytesIO):
    """Takes values off the front of some bytes, one after the other.

    Raises `MalformedProperties` where the bytes end too early, or say what makes no sense.
    """

    def property(self, kind: int) -> object:
        if kind == SHORT:
            return _text(self.short())
        if kind == OCTET:
            return self.cut(1)[0]
        if kind == TIMESTAMP:  # Unix seconds, or what a producer takes them for
            return self.number(TIME)
        return _Reader(self.long()).table(DEPTH_MAX)

    def table(self, depth: int) -> dict[str, object]:
        """Return all that is left as a table, with up to `depth` - 1 tables within tables."""
        found: dict[str, object] = {}
        while size := self.read(1):
            name = unused_name(found, self.cut(size[0]).decode("utf-8", "surrogateescape"))
            found[name] = self.value(self.cut(1), depth)
        return found

    def array(self, depth: int) -> list[object]:
        found: list[object] = []
        while kind := self.read(1):
            found.append(self.value(kind, depth))
        return found

    def value(self, kind: bytes, depth: int) -> object:  # noqa: PLR0911 - one line per type
        if number := NUMBERS.get(kind):
            return self.number(number)
        if kind == b"S":
            return _text(self.long())
        if kind == b"x":
            return self.long()
        if kind == b"V":
            return None
        if kind == b"T":
            return _time(self.number(TIME))
        if kind == b"D":
            scale, unscaled = DECIMAL.unpack(self.cut(DECIMAL.size))
            return Decimal(unscaled).scaleb(-scale)
        if kind not in (b"F", b"A"):
            raise MalformedProperties(f"a field of the unknown type {kind!r}")
        if depth <= 1:
            raise MalformedProperties("nested too deeply")
        inner = _Reader(self.long())
        return inner.table(depth - 1) if kind == b"F" else inner.array(depth - 1)

    def number(self, form: struct.Struct) -> Any:  # noqa: ANN401 - an int, a float or a bool
        return form.unpack(self.cut(form.size))[0]

    def short(self) -> bytes:
        return self.cut(self.cut(1)[0])

    def long(self) -> bytes:
        return self.cut(self.number(LENGTH))

    def cut(self, size: int) -> bytes:
        found = self.read(size)
        if len(found) < size:
            raise MalformedProperties("a length beyond the end")
        return found


def _time(seconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return seconds  # milliseconds, most likely, which the standard does not allow
