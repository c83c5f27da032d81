"""Whatever the pieces in which a connection's bytes come, deliveries are cut out whole."""

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pika import frame, spec

from shared.amqp.delivery_parser import BODY_KEPT_MAX, CutBody, DeliveryParser
from shared.amqp.properties import Properties
from shared.errors import Unavailable

OURS, OTHERS = 1, 2
ACK = frame.Method(OURS, spec.Basic.Ack(7)).marshal()
HEARTBEAT = frame.Heartbeat().marshal()
OF_ANOTHER = frame.Method(
    OTHERS, spec.Basic.Deliver("c", 1, exchange="", routing_key="q")
).marshal()


@dataclass
class Seen:
    """What came out."""

    messages: list[tuple[int, bool, bytes | str | None, bytes]] = field(default_factory=list)
    rest: list[bytes] = field(default_factory=list)

    def message(self, tag: int, redelivered: Any, properties: Properties, body: bytes) -> None:
        self.messages.append((tag, redelivered, properties.message_id, body))

    def deliveries(self) -> DeliveryParser:
        made = DeliveryParser(self.rest.append)
        made.start(OURS, self.message)
        return made


def delivery(tag: int, body: bytes, *, redelivered: bool = False, frame_max: int = 100) -> bytes:
    """Return a delivery with identity `m<tag>`, its body in frames of `frame_max` bytes."""
    method = spec.Basic.Deliver("consumer", tag, redelivered, "exchange", "key")
    properties = pika.BasicProperties(message_id=f"m{tag}", headers={"h": tag})
    parts = [body[at : at + frame_max] for at in range(0, len(body), frame_max)]
    frames = [frame.Method(OURS, method), frame.Header(OURS, len(body), properties)]
    frames += [frame.Body(OURS, part) for part in parts]
    return b"".join(one.marshal() for one in frames)


def fed(data: bytes, cuts: list[int]) -> Seen:
    """Feed the bytes in pieces that end at `cuts`."""
    seen = Seen()
    deliveries = seen.deliveries()
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    for start, end in zip([0, *ends], ends, strict=False):
        deliveries.feed(data[start:end])
    return seen


@given(
    st.lists(
        st.one_of(
            st.tuples(st.binary(max_size=350), st.booleans()),
            st.sampled_from([ACK, HEARTBEAT, OF_ANOTHER]),
        ),
        max_size=8,
    ),
    st.lists(st.integers(0, 5000), max_size=30),
)
def test_each_message_comes_out_once_and_all_else_is_passed_on_in_order(
    parts: list[tuple[bytes, bool] | bytes], cuts: list[int]
) -> None:
    data, messages, rest = b"", [], b""
    for tag, part in enumerate(parts, start=1):
        if isinstance(part, bytes):
            data += part
            rest += part
        else:
            body, redelivered = part
            data += delivery(tag, body, redelivered=redelivered)
            messages.append((tag, redelivered, f"m{tag}", body))
    seen = fed(data, cuts)
    assert seen.messages == messages
    assert b"".join(seen.rest) == rest


def test_every_single_byte_alone_makes_no_difference() -> None:
    data = delivery(1, b"x" * 250) + HEARTBEAT + delivery(2, b"")
    seen = fed(data, list(range(len(data))))
    assert seen.messages == [(1, False, "m1", b"x" * 250), (2, False, "m2", b"")]
    assert seen.rest == [HEARTBEAT]


def test_frames_of_another_channel_may_come_between_those_of_a_delivery() -> None:
    whole = delivery(1, b"x" * 150)
    at = whole.rindex(b"\x03\x00\x01")  # where the second frame of the body begins
    seen = fed(whole[:at] + HEARTBEAT + OF_ANOTHER + whole[at:], [])
    assert seen.messages == [(1, False, "m1", b"x" * 150)]
    assert seen.rest == [HEARTBEAT, OF_ANOTHER]


def test_before_a_channel_is_named_nothing_is_taken() -> None:
    seen = Seen()
    DeliveryParser(seen.rest.append).feed(delivery(1, b"body"))
    assert seen.messages == []
    assert b"".join(seen.rest) == delivery(1, b"body")


def test_once_it_is_stopped_a_delivery_reaches_nobody_not_even_in_part() -> None:
    seen = Seen()
    deliveries = seen.deliveries()
    data = delivery(1, b"x" * 250)
    deliveries.feed(data[:120])
    deliveries.stop()
    deliveries.feed(data[120:] + HEARTBEAT)
    assert (seen.messages, seen.rest) == ([], [HEARTBEAT])


def test_content_that_no_delivery_announced_is_passed_on() -> None:
    content = delivery(1, b"body")
    content = content[content.index(frame.Header(OURS, 4, pika.BasicProperties()).marshal()[:3]) :]
    seen = fed(content, [])
    assert seen.messages == []
    assert b"".join(seen.rest) == content


def framed(kind: int, payload: bytes) -> bytes:
    """Return any frame."""
    return struct.pack(">BHI", kind, OURS, len(payload)) + payload + b"\xce"


METHOD = frame.Method(OURS, spec.Basic.Deliver("c", 1, exchange="e", routing_key="k")).marshal()
HEADER = frame.Header(OURS, 4, pika.BasicProperties()).marshal()
BODY = frame.Body(OURS, b"some").marshal()


@pytest.mark.parametrize(
    "broken",
    [
        METHOD + METHOD,
        METHOD + HEADER + METHOD,
        METHOD + HEADER + HEADER,
        METHOD + HEADER + frame.Body(OURS, b"more than some").marshal(),
        METHOD + HEADER + frame.Body(OURS, b"so").marshal() + METHOD,
        framed(1, b"\x00\x3c\x00\x3c"),
        framed(1, b"\x00\x3c\x00\x3c\x01c" + b"\0" * 8),
        METHOD + framed(2, b"\x00\x3c\x00\x00" + b"\0" * 8),
    ],
)
def test_a_delivery_that_is_not_what_its_frames_say_ends_the_connection(broken: bytes) -> None:
    whole = METHOD + HEADER + BODY
    with pytest.raises(Unavailable, match="not what its frames say"):
        fed(whole + broken, [])  # at once: perhaps nothing follows that would show it


def on(channel: int, one: bytes) -> bytes:
    return one[:1] + struct.pack(">H", channel) + one[3:]


def unended(one: bytes) -> bytes:
    return one[:-1] + b"\x00"


def alike(*first: bytes) -> st.SearchStrategy[bytes]:
    """Return frames that could be taken for the first, which is the most likely one."""
    others = [*first[1:], on(OTHERS, first[0]), unended(first[0])]
    return st.one_of(st.just(first[0]), st.just(first[0]), st.sampled_from(others))


METHODS = alike(
    METHOD,
    frame.Method(OURS, spec.Basic.Return(312, "no route", "e", "k")).marshal(),
    framed(1, b"\x00\x3c\x00\x3c\x01c" + b"\0" * 8),
    framed(1, b"\x00\x3c\x00\x3c\xffc" + b"\0" * 9),
    framed(2, METHOD[7:-1]),
)
HEADERS = alike(
    HEADER,
    frame.Header(OURS, 2, pika.BasicProperties()).marshal(),
    frame.Header(OURS, 0, pika.BasicProperties()).marshal(),
    framed(2, HEADER[7:-3]),
    framed(3, HEADER[7:-1]),
)
BODIES = alike(
    BODY,
    frame.Body(OURS, b"so").marshal(),
    frame.Body(OURS, b"").marshal(),
    framed(2, b"some"),
    HEARTBEAT,
)


@given(st.lists(st.tuples(METHODS, HEADERS, BODIES), max_size=4))
def test_frames_that_come_together_are_understood_as_one_by_one(
    deliveries: list[tuple[bytes, bytes, bytes]],
) -> None:
    frames = [one for delivery in deliveries for one in delivery]
    together, apart = Seen(), Seen()
    ends = [outcome(together, [b"".join(frames)]), outcome(apart, frames)]
    assert ends[0] == ends[1]
    assert together.messages == apart.messages
    assert b"".join(together.rest) == b"".join(apart.rest) or ends == [True, True]


def outcome(seen: Seen, pieces: list[bytes]) -> bool:
    """Feed the pieces; say whether that ended the connection."""
    deliveries = seen.deliveries()
    try:
        for piece in pieces:
            deliveries.feed(piece)
    except Unavailable:
        return True
    return False


@pytest.mark.parametrize(
    "strange",
    [
        b"AMQP\x00\x00\x09\x01",
        HEARTBEAT[:-1] + b"\x00",
        b"\x05" + HEARTBEAT[1:],
    ],
)
def test_what_is_not_amqp_is_passed_on_with_all_that_follows(strange: bytes) -> None:
    seen = fed(ACK + strange + delivery(1, b"body"), [3, 30, 40])
    assert seen.messages == []
    assert b"".join(seen.rest) == ACK + strange + delivery(1, b"body")


def test_of_a_body_that_is_too_large_the_beginning_is_kept_and_the_next_message_is_whole() -> None:
    large = bytes(range(251)) * (BODY_KEPT_MAX // 251 + 1000)
    data = delivery(1, large, frame_max=131_064) + delivery(2, b"next")
    (_, _, _, kept), second = fed(data, []).messages
    assert isinstance(kept, CutBody)
    digest = hashlib.sha256(large).hexdigest()
    assert (kept.size, kept.sha256) == (len(large), digest)
    note = f"\n[cut: {len(large)} bytes in all, SHA-256 {digest}]\n".encode()
    assert kept == large[:BODY_KEPT_MAX] + note
    assert second == (2, False, "m2", b"next")


def test_a_body_of_the_largest_size_that_is_kept_is_kept_whole() -> None:
    whole = b"x" * BODY_KEPT_MAX
    ((_, _, _, kept),) = fed(delivery(1, whole, frame_max=131_064), []).messages
    assert kept == whole
    assert not isinstance(kept, CutBody)
