"""Who a message is: its own identity where it carries a usable one, else the fallback id."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.identity import identify
from shared.unfit import Unfit
from tests.support.messages import FakeProperties

SOURCES = ("property", "header:txn", "field:txn")


def identity(source: str, found: Any) -> str:
    """Identify a message that carries `found` in the place that `source` names, and only there."""
    kind = source.partition(":")[0]
    properties = FakeProperties(
        found if kind == "property" else "elsewhere",
        {"txn": found if kind == "header" else "elsewhere"},
    )

    fields = {"txn": found if kind == "field" else "elsewhere"}
    return identify(source, properties, b"", fields, "fallback")


@pytest.mark.parametrize("source", SOURCES)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
def test_text_is_taken_as_it_is_from_where_the_setting_says(source: str, text: str) -> None:
    if len(text.encode()) <= 255:
        assert identity(source, text) == text
    else:
        with pytest.raises(Unfit):
            identity(source, text)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("empty", [None, "", b""])
def test_an_empty_identity_is_none(source: str, empty: object) -> None:
    assert identity(source, empty) == "fallback"


@pytest.mark.parametrize("source", ["header:txn", "field:txn"])
def test_an_integer_is_as_good_as_its_digits(source: str) -> None:
    assert identity(source, 4711) == "4711"
    assert identity(source, 0) == "0"


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    "found",
    [b"\xff\xfe", "a\0b", "\ud800", "é" * 128, "x" * 256, True, 1.5, ["a"], {"a": "b"}],
    ids=repr,
)
def test_what_cannot_be_kept_as_an_identity_makes_the_message_unfit(
    source: str, found: object
) -> None:
    with pytest.raises(Unfit) as caught:
        identity(source, found)
    assert caught.value.reason == "bad_identity"


@pytest.mark.parametrize("source", SOURCES)
def test_255_bytes_are_not_too_many(source: str) -> None:
    assert identity(source, "é" * 127 + "x") == "é" * 127 + "x"


def test_a_message_without_headers_has_no_identity_in_one() -> None:
    assert (
        identify("header:txn", FakeProperties("elsewhere"), b"{}", None, "fallback") == "fallback"
    )


def test_the_body_is_not_read_for_an_identity_that_is_elsewhere() -> None:
    unreadable = b"\xff"
    with pytest.raises(Unfit):
        identify("field:a", FakeProperties("m1"), unreadable, None, "fallback")
    assert identify("property", FakeProperties("m1"), unreadable, None, "fallback") == "m1"
    assert identify("header:a", FakeProperties(None, {"a": "m1"}), unreadable, None, "") == "m1"


def test_an_identity_of_amqp_1_0_that_is_no_short_text_is_refused_and_not_taken_for_none() -> None:
    for found, why in ((b"\x01\x02", "is bytes"), ("m" * 300, "has 300 bytes")):
        with pytest.raises(Unfit, match=why) as caught:
            identify(
                "property", FakeProperties(None, {"x-message-id": found}), b"{}", None, "fallback"
            )
        assert caught.value.reason == "bad_identity"


def test_a_short_text_in_that_header_is_the_producer_s_own_and_no_identity() -> None:
    assert (
        identify("property", FakeProperties(None, {"x-message-id": "a"}), b"{}", None, "b") == "b"
    )


def test_the_property_goes_before_that_header() -> None:
    properties = FakeProperties("m1", {"x-message-id": b"\x01"})
    assert identify("property", properties, b"{}", None, "fallback") == "m1"
