"""Properties are read as producers wrote them, whatever they are."""

import contextlib
import struct
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.amqp.properties import DEPTH_MAX, FIELDS, MalformedProperties, Properties

TEXTS = {name: name for name, _ in FIELDS}
EVERYTHING: dict[str, Any] = TEXTS | {
    "headers": {"h": 1}, "delivery_mode": 2, "priority": 0,
    "timestamp": 1_795_218_120,
}  # fmt: skip
HEADERS_ONLY = struct.pack(">H", 0x2000)


def encoded(properties: pika.BasicProperties) -> bytes:
    """Return them as they stand in a content header."""
    return b"".join(properties.encode())


def with_headers(entries: bytes, *, size: int | None = None) -> Properties:
    """Return properties with nothing but a table of these bytes."""
    length = len(entries) if size is None else size
    return Properties(HEADERS_ONLY + struct.pack(">I", length) + entries)


def entry(kind: bytes, value: bytes) -> bytes:
    """Return an entry `h` of a table."""
    return b"\x01h" + kind + value


@given(st.sets(st.sampled_from(list(EVERYTHING))))
def test_what_pika_wrote_is_read_again(names: set[str]) -> None:
    chosen = {name: EVERYTHING[name] for name in names}
    found = Properties(encoded(pika.BasicProperties(**chosen)))
    assert found.all() == chosen
    assert found.message_id == chosen.get("message_id")
    assert found.headers == chosen.get("headers")


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (b"t", b"\x01", True),
        (b"b", b"\xff", -1),
        (b"B", b"\xff", 255),
        (b"s", b"\xff\xfe", -2),
        (b"U", b"\xff\xfe", -2),
        (b"u", b"\xff\xfe", 65534),
        (b"I", b"\xff\xff\xff\xff", -1),
        (b"i", b"\xff\xff\xff\xff", 2**32 - 1),
        (b"l", b"\x80" + b"\0" * 7, -(2**63)),
        (b"L", b"\x80" + b"\0" * 7, -(2**63)),
        (b"f", struct.pack(">f", 0.5), 0.5),
        (b"d", struct.pack(">d", -1.25), -1.25),
        (b"D", b"\x02" + struct.pack(">i", -150), Decimal("-1.50")),
        (b"S", b"\0\0\0\x02\xc3\xa9", "é"),
        (b"S", b"\0\0\0\x02\xff\xfe", b"\xff\xfe"),
        (b"x", b"\0\0\0\x02ab", b"ab"),
        (b"T", struct.pack(">Q", 1_795_218_120), datetime(2026, 11, 20, 23, 42, tzinfo=UTC)),
        (b"T", struct.pack(">Q", 1_795_227_590_005), 1_795_227_590_005),
        (b"T", b"\xff" * 8, 2**64 - 1),
        (b"V", b"", None),
        (b"A", b"\0\0\0\x04t\x00b\x07", [False, 7]),
        (b"F", b"\0\0\0\x04\x01kb\x07", {"k": 7}),
    ],
)
def test_a_header_of_every_type_that_rabbitmq_knows(kind: bytes, value: bytes, meant: Any) -> None:
    after = b"\x05after" + b"b\x09"
    assert with_headers(entry(kind, value) + after).headers == {"h": meant, "after": 9}


@pytest.mark.parametrize(
    "found",
    [
        Properties(b""),
        Properties(b"\x00\x01"),
        Properties(HEADERS_ONLY),
        with_headers(entry(b"?", b"")),
        with_headers(entry(b"S", b"\xff\xff\xff\xff")),
        with_headers(entry(b"I", b"\0")),
        with_headers(b"", size=1),
        with_headers(entry(b"b", b"\x01"), size=3),
        with_headers(entry(b"F", b"\0\0\0\0") * 1 + b"\xff"),
        with_headers(entry(b"A", b"\xff\xff\xff\xff")),
    ],
)
def test_a_table_that_makes_no_sense_is_malformed_and_kept(found: Properties) -> None:
    with pytest.raises(MalformedProperties):
        _ = found.headers
    assert found.all()["garbled"] == found.encoded


def test_tables_nested_without_end_are_malformed() -> None:
    nested = b""
    for _ in range(DEPTH_MAX + 1):
        nested = entry(b"F", struct.pack(">I", len(nested)) + nested)
    with pytest.raises(MalformedProperties):
        _ = with_headers(nested).headers


def test_the_identity_is_found_behind_a_table_that_is_malformed() -> None:
    flags = struct.pack(">H", 0x2000 | 0x0080)
    malformed = entry(b"?", b"")
    found = Properties(flags + struct.pack(">I", len(malformed)) + malformed + b"\x02m1")
    assert found.message_id == "m1"


def test_an_identity_that_is_not_utf8_stays_bytes_and_one_cut_short_is_malformed() -> None:
    flags = struct.pack(">H", 0x0080)
    assert Properties(flags + b"\x02\xff\xfe").message_id == b"\xff\xfe"
    with pytest.raises(MalformedProperties):
        _ = Properties(flags + b"\x03ab").message_id
    with pytest.raises(MalformedProperties):
        _ = Properties(flags).message_id


@given(st.binary(max_size=64))
def test_no_bytes_at_all_do_more_than_be_malformed(raw: bytes) -> None:
    found = Properties(raw)
    found.all()
    with contextlib.suppress(MalformedProperties):
        _ = found.headers, found.message_id


def test_of_headers_of_the_same_name_all_are_kept_and_the_first_keeps_it() -> None:
    found = with_headers(entry(b"b", b"\x01") + entry(b"b", b"\x02") + entry(b"b", b"\x03"))
    assert found.headers == {"h": 1, "h#2": 2, "h#3": 3}


def test_thousands_of_headers_of_the_same_name_are_read_at_once() -> None:
    found = with_headers(entry(b"V", b"") * 30_000).headers
    assert found is not None
    assert len(found) == 30_000
