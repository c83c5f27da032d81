"""Deliveries cut out of a connection's bytes; all else is passed on as it came.

A delivery is three kinds of frame in a row (AMQP 0-9-1 §4.2.6): the method `basic.deliver`, the
content header, and the body in as many frames as it takes. Only these are looked into, and only on
the channel that was asked for: a client library handles the rest of the protocol. It would decode
every property of every message, three frames apiece, in some 15 µs; this takes about 2.
"""

import hashlib
import struct
from collections.abc import Callable

from shared.amqp.properties import FLAGS, Properties
from shared.errors import Unavailable

OnMessage = Callable[[int, bool, Properties, bytes], None]
"""Called with tag, redelivered, properties and body."""

BODY_KEPT_MAX = 2**24
"""Bytes kept of a body: what a client may send is bounded by the broker alone, memory by this."""

FRAME = struct.Struct(">BHI")
OVERHEAD = FRAME.size + 1
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
KINDS = frozenset((METHOD, HEADER, BODY, HEARTBEAT))
FRAME_END = 0xCE
DELIVER = struct.pack(">HH", 60, 60)
TAG = struct.Struct(">QB")
BODY_SIZE = struct.Struct(">4xQ")
HEADER_MIN = BODY_SIZE.size + FLAGS.size
METHOD_START = struct.Struct(">BHI4sB")
HEADER_START = struct.Struct(">BHI4xQ")


class CutBody(bytes):
    """The beginning of a body above `BODY_KEPT_MAX`, and a line that says what all of it was.

    It is longer than any body that is kept whole. The line tells two bodies apart that begin alike.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, kept: bytes, size: int, sha256: str) -> "CutBody":
        """Return what was `kept`, and the line; `size` and `sha256` (hexadecimal) of the whole."""
        made = cls(kept + b"\n[cut: %d bytes in all, SHA-256 %s]\n" % (size, sha256.encode()))
        made.size, made.sha256 = size, sha256
        return made


class DeliveryParser:
    """The bytes of one connection, in order, a piece at a time."""

    def __init__(self, on_rest: Callable[[bytes], None]) -> None:
        """`on_rest` is given everything that belongs to no delivery, whole frames at a time."""
        self._channel: int | None = None
        self._on_message: OnMessage = _ignore
        self._on_rest = on_rest
        self._kept: list[bytes] = []
        self._have = 0
        self._need = OVERHEAD
        self._strange = False
        self._incomplete: _Incomplete | None = None

    @property
    def started(self) -> bool:
        """Whether deliveries are taken."""
        return self._channel is not None

    def start(self, channel: int, on_message: OnMessage) -> None:
        """Take the deliveries of `channel` from now on."""
        self._channel = channel
        self._on_message = on_message

    def stop(self) -> None:
        """Drop what still comes: half a delivery would make no sense to anybody."""
        self._on_message = _ignore

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
        at = self._frames(buffer)
        self._kept = [buffer[at:]] if at < len(buffer) else []
        self._have = len(buffer) - at

    def _frames(self, buffer: bytes) -> int:
        """Handle the whole frames in `buffer` and return where the one that is not begins."""
        at, end = 0, len(buffer)
        self._need = OVERHEAD
        while end - at >= OVERHEAD:
            if self._incomplete is None and (after := self._whole(buffer, at, end)):
                at = after
                continue
            kind, channel, size = FRAME.unpack_from(buffer, at)
            after = at + OVERHEAD + size
            if kind in KINDS and after > end:
                self._need = after - at
                break
            if kind not in KINDS or buffer[after - 1] != FRAME_END:
                # Not AMQP, or not in step any more: the library says so better than we could.
                self._strange = True
                self._on_rest(buffer[at:])
                return end
            payload = buffer[at + FRAME.size : after - 1]
            if channel != self._channel or not self._taken(kind, payload):
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
            and header_size >= HEADER_MIN
            and tag_at + TAG.size < header_at
            and after <= end
            and buffer[header_at - 1] == buffer[body_at - 1] == buffer[after - 1] == FRAME_END
        ):
            properties = Properties(buffer[header_at + HEADER_START.size : body_at - 1])
            payload = buffer[body_at + FRAME.size : after - 1]
            self._on_message(tag, redelivered != 0, properties, payload)
            return after
        return 0

    def _taken(self, kind: int, payload: bytes) -> bool:
        """Take a frame on our channel if it is part of a delivery; say whether it is."""
        if kind == METHOD and payload.startswith(DELIVER):
            if self._incomplete:
                raise _out_of_step()
            self._incomplete = _Incomplete(payload)
            return True
        one = self._incomplete
        if one is None:
            return False
        if kind == HEADER:
            one.add_header(payload)
        elif kind == BODY and one.properties is not None:
            one.add_body(payload)
        else:
            return False
        if one.properties is not None and one.missing == 0:
            self._incomplete = None
            self._on_message(one.tag, one.redelivered, one.properties, one.body())
        return True


class _Incomplete:
    """A delivery whose frames have not all come; of a body above `BODY_KEPT_MAX` a part is kept."""

    def __init__(self, method: bytes) -> None:
        tag_at = len(DELIVER) + 1 + method[4] if len(method) > len(DELIVER) else len(method)
        if tag_at + TAG.size > len(method):
            raise _out_of_step()
        tag, redelivered = TAG.unpack_from(method, tag_at)
        self.tag: int = tag
        self.redelivered = redelivered != 0
        self.properties: Properties | None = None
        self.missing = 0
        self._size = 0
        self._room = BODY_KEPT_MAX
        self._parts: list[bytes] = []
        self._digest = hashlib.sha256()

    def add_header(self, payload: bytes) -> None:
        if self.properties is not None or len(payload) < HEADER_MIN:
            raise _out_of_step()
        (self._size,) = BODY_SIZE.unpack_from(payload)
        self.missing = self._size
        self.properties = Properties(payload[BODY_SIZE.size :])

    def add_body(self, part: bytes) -> None:
        self.missing -= len(part)
        if self.missing < 0:
            raise _out_of_step()
        if self._size > BODY_KEPT_MAX:
            self._digest.update(part)
            part = part[: self._room]
            self._room -= len(part)
        self._parts.append(part)

    def body(self) -> bytes:
        kept = b"".join(self._parts)
        if self._size <= BODY_KEPT_MAX:
            return kept
        return CutBody.of(kept, self._size, self._digest.hexdigest())


def _out_of_step() -> Unavailable:
    # Never seen; were it read on, one message would have another's body.
    return Unavailable("rabbitmq", "a delivery that is not what its frames say")


def _ignore(*_: object) -> None:
    """Take messages for nobody."""
