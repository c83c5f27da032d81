"""Whatever a producer puts into the properties, the dead letter can hold it."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.amqp.amqp_json import encode

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.decimals(),
    st.text(st.characters()), st.text(st.characters(categories=["Cs", "Cc"])), st.datetimes(),
    st.sampled_from(["\0", "a\0b", "\ud800", b"\0", float("nan"), float("inf"), object()]),
)  # fmt: skip
KEYS = st.one_of(st.text(st.characters()), st.sampled_from(["\0", "\udfff", b"\xff"]))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def refuse(name: str) -> None:
    raise AssertionError(name)


def decoded(**properties: Any) -> Any:
    """Return what Postgres would read, which takes no NaN."""
    return json.loads(encode(properties), parse_constant=refuse)


@given(VALUES, st.dictionaries(KEYS, VALUES, max_size=3))
def test_anything_becomes_json_that_jsonb_accepts(found: object, headers: object) -> None:
    text = encode({"message_id": found, "headers": headers})
    json.loads(text, parse_constant=refuse)
    assert text.isascii()
    assert "\\u0000" not in text.replace("\\\\", "")
    json.dumps(json.loads(text), ensure_ascii=False).encode()  # no lone surrogate is left


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("plain", "plain"),
        ("a\0b", {"$hex": "610062"}),
        (b"\xff\0", {"$bytes": "/wA="}),
        (Decimal("1.50"), {"$decimal": "1.50"}),
        (datetime(2026, 11, 20, tzinfo=UTC), {"$timestamp": "2026-11-20T00:00:00+00:00"}),
        (float("-inf"), {"$float": "-inf"}),
        (-(2**63), -(2**63)),
        (True, True),
        (None, None),
        ([1, [None, {"a": b""}]], [1, [None, {"a": {"$bytes": ""}}]]),
    ],
    ids=repr,
)
def test_a_header_keeps_its_value_and_says_what_it_was(value: object, kept: object) -> None:
    assert decoded(headers={"h": value}) == {"headers": {"h": kept}}


def test_headers_that_differ_stay_different() -> None:
    headers = {"a\0": 1, "a": 2, b"\xff": 3}
    assert len(decoded(headers=headers)["headers"]) == 3


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        ({"a\0": 1, "$hex:6100": 2}, {"$hex:6100": 1, "$hex:6100#2": 2}),
        ({"$hex:6100": 2, "b": 3, "a\0": 1}, {"$hex:6100": 2, "b": 3, "$hex:6100#3": 1}),
        (
            {"$hex:6100": 1, "$hex:6100#3": 2, "a\0": 3},
            {"$hex:6100": 1, "$hex:6100#3": 2, "$hex:6100#4": 3},
        ),
    ],
)
def test_of_headers_whose_names_are_written_the_same_all_are_kept(headers: Any, kept: Any) -> None:
    assert decoded(headers=headers)["headers"] == kept
    assert decoded(headers={"deeper": [headers]})["headers"]["deeper"] == [kept]


@given(st.dictionaries(KEYS, st.integers(), max_size=6))
def test_no_header_is_ever_lost_to_another(headers: dict[Any, int]) -> None:
    assert sorted(decoded(headers=headers)["headers"].values()) == sorted(headers.values())
