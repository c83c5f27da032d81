"""A body is a transaction, or unfit for exactly one stated reason."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.transaction_body import Limits, decode
from shared.unfit import TransactionReason, Unfit
from tests.support.messages import BODY_MAX
from tests.support.unfit_bodies import UNFIT_BODIES

LIMITS = Limits(BODY_MAX)
INTEGER_COLUMNS = Limits(BODY_MAX, -(2**31), 2**31 - 1, -(2**31), 2**31 - 1)


def verdict(body: bytes, limits: Limits = LIMITS) -> tuple[int, int] | str:
    """Return provider and value, or the reason why there are none."""
    try:
        return decode(body, limits)[:2]
    except Unfit as unfit:
        return unfit.reason


def reference(body: bytes) -> tuple[int, int] | str:
    """Read a body the slow and obvious way: parse everything, then look at it."""
    repeated: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in found]
        repeated.extend(name for name in names if names.count(name) > 1)
        return dict(found)

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:  # numbers stay text: what is an integer is for us to say
        found = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_int=Digits,
            parse_float=str,
            parse_constant=refuse,
        )
    except UnicodeDecodeError:
        return "not_utf8"
    except ValueError:
        return "not_json"
    return "duplicate_key" if repeated else content(found)


def content(found: Any) -> tuple[int, int] | str:
    """Say what a parsed body is; its integers are `Digits`."""
    if not isinstance(found, dict):
        return "not_object"
    if not {"id", "value"} <= set(found):
        return "missing_field"
    if not all(isinstance(found[name], Digits) for name in ("id", "value")):
        return "wrong_type"
    pair = (found["id"].number(), found["value"].number())
    return pair if all(-(2**63) <= one < 2**63 for one in pair) else "out_of_range"


class Digits(str):
    """An integer as it was written."""

    __slots__ = ()

    def number(self) -> int:
        """Return its value; one that is far too long is only known to be out of range."""
        return int(self) if len(self) < 100 else 2**64


NUMBERS = st.one_of(
    st.integers(-5, 5).map(str),
    st.integers(-(2**64), 2**64).map(str),
    st.sampled_from([str(2**63 - 1), str(2**63), str(-(2**63)), str(-(2**63) - 1), "-0"]),
    st.sampled_from(["9" * 19, "9" * 20, "-" + "9" * 5000, "600.0", "1e3", "1E400", "-0.0"]),
)
SCALARS = st.one_of(
    NUMBERS, st.sampled_from(["true", "false", "null", '"600"', "NaN", "-Infinity", '"\\ud800"'])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(st.sampled_from(['"a"', '"id"', '""']), inner), max_size=3).map(
            lambda items: "{" + ",".join(f"{name}: {one}" for name, one in items) + "}"
        ),
    ),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ['"id"', '"value"', '"\\u0069d"', '"val\\u0075e"', '"note"', '"ID"', '"é"', '"i\\"d"']
)
SPACE = st.sampled_from(["", " ", "\n\t", "\r\n"])


@st.composite
def objects(draw: st.DrawFn) -> str:
    """Draw objects that mostly have both fields, in any order, with others of any kind."""
    fields = [(name, draw(st.one_of(NUMBERS, VALUES))) for name in ('"id"', '"value"')]
    fields = [one for one in fields if draw(st.integers(0, 9)) > 0]
    fields += draw(st.lists(st.tuples(NAMES, VALUES), max_size=2))
    space = draw(SPACE)
    inside = f"{space},{space}".join(
        f"{name}{space}:{space}{value}" for name, value in draw(st.permutations(fields))
    )
    return f"{space}{{{inside}}}{space}"


@given(st.one_of(objects(), VALUES))
def test_what_a_body_says_is_what_a_plain_reading_says(text: str) -> None:
    assert verdict(text.encode()) == reference(text.encode())


@given(objects(), st.integers(0, 40), st.sampled_from([b"\xff", b"\xef\xbb\xbf", b",", b"}", b""]))
def test_a_damaged_body_is_never_read_as_something_else(text: str, at: int, damage: bytes) -> None:
    whole = text.encode()
    damaged = whole[:at] + damage + whole[at + 1 :]
    found, expected = verdict(damaged), reference(damaged)
    if isinstance(expected, tuple):
        assert found == expected
    else:  # of two things that are wrong at once either may be named
        assert isinstance(found, str)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_every_pair_of_64_bit_integers_comes_through(provider_id: int, value: int) -> None:
    assert verdict(json.dumps({"id": provider_id, "value": value}).encode()) == (provider_id, value)
    assert verdict(f'{{"value":{value},"id":{provider_id},"x":"y"}}'.encode()) == (
        provider_id,
        value,
    )


@pytest.mark.parametrize(("reason", "body"), UNFIT_BODIES.items(), ids=UNFIT_BODIES)
def test_every_reason_has_a_body_that_gives_it(reason: str, body: bytes) -> None:
    assert verdict(body) == reason


@pytest.mark.parametrize("value", ["true", "600.0", '"600"', "1e3", "null", "[600]", '{"a":1}'])
@pytest.mark.parametrize("beside", ["", ', "note": "y"'])
def test_what_only_looks_like_an_integer_is_of_the_wrong_type(value: str, beside: str) -> None:
    assert verdict(f'{{"id": 1, "value": {value}{beside}}}'.encode()) == "wrong_type"
    assert verdict(f'{{"id": {value}, "value": 600{beside}}}'.encode()) == "wrong_type"


@pytest.mark.parametrize(
    "body",
    [b"", b"\xef\xbb\xbf" + b'{"id":1,"value":2}', b'{"id":1,"value":NaN}', b'{"id":1,"value":02}',
     b'{"id":1,"value":2},{"id":1,"value":2}', b"{'id':1,'value':2}", b"[" * 60_000,
     b'{"id":1,"value":2,"n":"\x00"}'],
)  # fmt: skip
def test_what_is_not_json_is_said_to_be_that(body: bytes) -> None:
    assert verdict(body) == "not_json"


def test_an_integer_of_any_length_is_out_of_range_and_costs_no_conversion() -> None:
    for digits in ("9" * 19, "1" + "0" * 60_000, "-" + "9" * 60_000):
        assert verdict(b'{"id": 1, "value": %s}' % digits.encode()) == "out_of_range"
        assert verdict(b'{"id": %s, "value": 1, "x": ""}' % digits.encode()) == "out_of_range"


def test_a_body_may_be_exactly_as_large_as_the_limit_and_not_one_byte_larger() -> None:
    text = b'{"id":1,"value":2}'
    assert verdict(text.ljust(BODY_MAX)) == (1, 2)
    assert verdict(text.ljust(BODY_MAX + 1)) == "too_large"


@pytest.mark.parametrize("text", ['{"id": %d, "value": %d}', '{"id": %d, "value": %d, "x": "y"}'])
@pytest.mark.parametrize(
    ("provider_id", "value", "fits"),
    [(2**31 - 1, 2**31 - 1, True), (-(2**31), -(2**31), True), (2**31, 0, False),
     (0, 2**31, False), (-(2**31) - 1, 0, False), (0, -(2**31) - 1, False)],
)  # fmt: skip
def test_the_range_is_that_of_the_columns(
    text: str, provider_id: int, value: int, *, fits: bool
) -> None:
    expected = (provider_id, value) if fits else "out_of_range"
    assert verdict((text % (provider_id, value)).encode(), INTEGER_COLUMNS) == expected


def test_an_error_never_quotes_the_body() -> None:
    for body in (*UNFIT_BODIES.values(), b'{"id": "hunter2", "value": 1}', b"hunter2"):
        with pytest.raises(Unfit) as caught:
            decode(body, LIMITS)
        assert "hunter2" not in caught.value.error
        assert caught.value.reason in get_args(TransactionReason)


@pytest.mark.parametrize(
    ("body", "reason", "kind"),
    [
        (b"\0Sw\xa1\x18" + b'{"id": 1, "value": 600}', "not_utf8", "AMQP 1.0 value section"),
        (b"\0Sw\x40", "not_json", "AMQP 1.0 value section"),
        (b"\0Sv\x45", "not_json", "AMQP 1.0 sequence section"),
    ],
)
def test_a_body_of_amqp_1_0_that_is_no_data_is_named(body: bytes, reason: str, kind: str) -> None:
    with pytest.raises(Unfit, match=kind) as caught:
        decode(body, Limits(BODY_MAX))
    assert caught.value.reason == reason
