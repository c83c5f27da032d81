"""The tick message."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import tick
from shared.tick import MalformedTick, Tick

AT = datetime(2026, 11, 20, 23, 42, tzinfo=UTC)


def body(**changes: object) -> bytes:
    fields: dict[str, object] = {"tick": "2026-11-20T23:42:00Z", "interval_s": 60, "ticker": "a"}
    return json.dumps(fields | changes).encode()


@given(st.datetimes(timezones=st.just(UTC)), st.integers(1, 86_400), st.text())
def test_what_is_encoded_is_decoded(boundary: datetime, interval_s: int, ticker: str) -> None:
    sent = Tick(boundary, interval_s, ticker)
    assert tick.decode(tick.encode(sent)) == sent


def test_the_body_is_the_one_that_is_promised() -> None:
    assert json.loads(tick.encode(Tick(AT, 60, "a"))) == json.loads(body())


def test_a_boundary_in_another_zone_is_the_same_moment_in_utc() -> None:
    received = tick.decode(body(tick="2026-11-21T01:42:00+02:00"))
    assert received.boundary == AT
    assert received.boundary.utcoffset() == timedelta(0)


def test_fields_that_we_do_not_know_are_ignored() -> None:
    assert tick.decode(body(version=2)) == Tick(AT, 60, "a")


def test_a_boundary_is_sent_in_whatever_zone_it_has_and_means_the_same() -> None:
    east = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert tick.decode(tick.encode(Tick(east, 60, "a"))).boundary == AT


@pytest.mark.parametrize(
    "malformed",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"{}",
        b"{",
        body() + b"x",
        body(tick=None),
        body(tick=1_795_218_120),
        body(tick="2026-11-20T23:42:00"),
        body(tick="2026-13-20T23:42:00Z"),
        body(tick="soon"),
        body(interval_s=0),
        body(interval_s=-60),
        body(interval_s=86_401),
        body(interval_s=10**400),
        body(interval_s=1.5),
        body(interval_s="60"),
        body(interval_s=True),
        body(interval_s=None),
        body(ticker=None),
        body(ticker=7),
        body(tick="0001-01-01T00:00:00+23:59"),
        body(tick="9999-12-31T23:59:59-23:59"),
    ],
    ids=repr,
)
def test_what_is_no_tick_is_malformed(malformed: bytes) -> None:
    with pytest.raises(MalformedTick):
        tick.decode(malformed)


@given(st.binary())
def test_garbage_is_malformed_and_nothing_worse(garbage: bytes) -> None:
    with pytest.raises(MalformedTick):
        tick.decode(garbage)
