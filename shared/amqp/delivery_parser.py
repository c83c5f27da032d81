"""Deliveries cut out of a connection's bytes; all else is passed on as it came.

A delivery is three kinds of frame in a row (AMQP 0-9-1 §4.2.6): the method `basic.deliver`, the
content header, and the body in as many frames as it takes. Only these are looked into, and only on
the channel that was asked for: a client library handles the rest of the protocol. It would decode
every property of every message, three frames apiece, in some 15 µs; this takes about 2.
"""

import hashlib
import struct
from collections.abc import Callable, Iterable

from shared.amqp.properties import FLAGS, Properties
from shared.errors import Unavailable

OnMessage = Callable[[int, bool, Properties, bytes], None]

BODY_KEPT_MAX = 2**24
"""Of a larger body only so many bytes are kept: what a client may send is bounded by the broker
alone, and memory would be by nothing."""

FRAME = struct.Struct(">BHI")
OVERHEAD = FRAME.size + 1
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
KINDS = frozenset((METHOD, HEADER, BODY, HEARTBEAT))
FRAME_END = 0xCE
DELIVER = struct.pack(">HH", 60, 60)
TAG = struct.Struct(">QB")
BODY_SIZE = struct.Struct(">Q")
BODY_SIZE_AT = FRAME.size + 4
PROPERTIES_AT = BODY_SIZE_AT + BODY_SIZE.size
HEADER_END = PROPERTIES_AT + FLAGS.size
TAG_SIZE = TAG.size
PAYLOAD_AT = FRAME.size
METHOD_START = struct.Struct(">BHI4sB")
HEADER_START = struct.Struct(">BHI4xQ")


class CutBody(bytes):
    """The beginning of a body above `BODY_KEPT_MAX`, and a line that says what all of it was.

    It is longer than any body that is kept whole. The line tells two bodies apart that begin alike.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, parts: Iterable[bytes], size: int, sha256: str) -> "CutBody":
        """Return `parts` as one; `size` and `sha256` (in hexadecimal) are those of the whole."""
        note = b"\n[cut: %d bytes in all, SHA-256 %s]\n" % (size, sha256.encode())
        made = cls(b"".join([*parts, note]))
        made.size, made.sha256 = size, sha256
        return made


class DeliveryParser:
    """The bytes of one connection, in order, a piece at a time."""

    def __init__(self, on_rest: Callable[[bytes], None]) -> None:
        """`on_rest` is given everything that belongs to no delivery, whole frames at a time."""
        self._channel: int | None = None
        self._on_message: OnMessage = _nobody
        self._on_rest = on_rest
        self._kept: list[bytes] = []
        self._have = 0
        self._need = OVERHEAD
        self._strange = False
        self._delivery: tuple[int, bool] | None = None
        self._properties: Properties | None = None
        self._body: list[bytes] = []
        self._missing = 0
        self._large: _Large | None = None

    @property
    def wanted(self) -> bool:
        """Whether deliveries are taken."""
        return self._channel is not None

    def take(self, channel: int, on_message: OnMessage) -> None:
        """Take the deliveries of `channel` from now on."""
        self._channel = channel
        self._on_message = on_message

    def stop(self) -> None:
        """Drop what still comes: half a delivery would make no sense to anybody."""
        self._on_message = _nobody

    def feed(self, data: bytes) -> None:
        """Take what came next. What `on_message` and `on_rest` raise is raised here.

        Raises `Unavailable` for a delivery that is not one: nothing may be fed after it.
        """
        if self._strange:
            self._on_rest(data)
            return
        self._kept.append(data)
        self._have += len(data)
        if self._have < self._need:  # joined once a frame, not once a piece
            return
        buffer = b"".join(self._kept) if len(self._kept) > 1 else data
        self._kept.clear()
        self._have = 0
        self._keep(buffer, self._frames(buffer))

    def _keep(self, buffer: bytes, at: int) -> None:
        if at < len(buffer):
            self._kept.append(buffer[at:])
            self._have = len(buffer) - at

    def _frames(self, buffer: bytes) -> int:
        """Handle the whole frames in `buffer` and return where the one that is not begins."""
        at, end = 0, len(buffer)
        self._need = OVERHEAD
        while end - at >= OVERHEAD:
            if self._delivery is None and (after := self._whole(buffer, at, end)):
                at = after
                continue
            kind, channel, size = FRAME.unpack_from(buffer, at)
            after = at + OVERHEAD + size
            if kind not in KINDS:
                return self._give_up(buffer, at)
            if after > end:
                self._need = after - at
                break
            if buffer[after - 1] != FRAME_END:
                return self._give_up(buffer, at)
            if channel != self._channel or not self._taken(kind, buffer, at, after - 1):
                self._on_rest(buffer[at:after])
            at = after
        return at

    def _whole(self, buffer: bytes, at: int, end: int) -> int:
        """Take a delivery whose three frames are all there, one after the other, as most are.

        Returns where it ends; 0 if it is anything else, to be looked at frame by frame.
        """
        try:
            kind, channel, size, method, tag_size = METHOD_START.unpack_from(buffer, at)
            header_at = at + OVERHEAD + size
            header, header_channel, header_size, whole = HEADER_START.unpack_from(buffer, header_at)
            body_at = header_at + OVERHEAD + header_size
            body, body_channel, body_size = FRAME.unpack_from(buffer, body_at)
            tag_at = at + METHOD_START.size + tag_size
            tag, redelivered = TAG.unpack_from(buffer, tag_at)
        except struct.error:
            return 0
        after: int = body_at + OVERHEAD + body_size
        if (
            method == DELIVER
            and kind == METHOD
            and header == HEADER
            and body == BODY
            and channel == header_channel == body_channel == self._channel
            and body_size == whole > 0  # an empty body has no frame
            and header_size >= HEADER_END - PAYLOAD_AT
            and tag_at + TAG_SIZE < header_at
            and after <= end
            and buffer[header_at - 1] == buffer[body_at - 1] == buffer[after - 1] == FRAME_END
        ):
            properties = Properties(buffer[header_at + PROPERTIES_AT : body_at - 1])
            payload = buffer[body_at + PAYLOAD_AT : after - 1]
            self._on_message(tag, redelivered != 0, properties, payload)
            return after
        return 0

    def _give_up(self, buffer: bytes, at: int) -> int:
        # Not AMQP, or not in step any more: the library says so better than we could.
        self._strange = True
        self._on_rest(buffer[at:])
        return len(buffer)

    def _taken(self, kind: int, buffer: bytes, at: int, end: int) -> bool:
        """Take a frame on our channel if it is part of a delivery; `end` is its last octet."""
        if kind == METHOD:
            start = at + PAYLOAD_AT
            if not buffer.startswith(DELIVER, start):
                return False
            tag_at = start + 5 + buffer[start + 4]
            if tag_at + TAG_SIZE > end or self._delivery is not None:
                raise _out_of_step()
            tag, redelivered = TAG.unpack_from(buffer, tag_at)
            self._delivery = (tag, redelivered != 0)
            self._properties = None
            return True
        if self._delivery is None:
            return False
        if kind == HEADER:
            if at + HEADER_END > end or self._properties is not None:
                raise _out_of_step()
            (self._missing,) = BODY_SIZE.unpack_from(buffer, at + BODY_SIZE_AT)
            self._properties = Properties(buffer[at + PROPERTIES_AT : end])
            self._large = _Large(self._missing) if self._missing > BODY_KEPT_MAX else None
        elif kind == BODY and self._properties is not None:
            part = buffer[at + PAYLOAD_AT : end]
            self._body.append(self._large.kept(part) if self._large else part)
            self._missing = missing = self._missing - (end - at - PAYLOAD_AT)
            if missing < 0:
                raise _out_of_step()
        else:
            return False
        if self._missing <= 0:
            self._complete(self._delivery, self._properties)
        return True

    def _complete(self, delivery: tuple[int, bool], properties: Properties) -> None:
        if self._large:
            body: bytes = self._large.cut(self._body)
        else:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._large = None
        self._delivery = None
        self._on_message(*delivery, properties, body)


class _Large:
    """What is kept of a body that is too large to be kept, part by part."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._digest = hashlib.sha256()
        self._room = BODY_KEPT_MAX

    def kept(self, part: bytes) -> bytes:
        self._digest.update(part)
        kept = part[: self._room]
        self._room -= len(kept)
        return kept

    def cut(self, parts: Iterable[bytes]) -> CutBody:
        return CutBody.of(parts, self._size, self._digest.hexdigest())


def _out_of_step() -> Unavailable:
    # Never seen; were it read on, one message would have another's body.
    return Unavailable("rabbitmq", "a delivery that is not what its frames say")


def _nobody(*_: object) -> None:
    """Take messages for nobody."""
