"""Times as people type them."""

from datetime import UTC, datetime, timedelta

import click
import pytest

from ops.params import Moment


def read(text: str) -> datetime:
    return Moment().convert(text, None, None)


@pytest.mark.parametrize("text", ["2h", "2h ago", "2 h ago", "120m ago", "7200s"])
def test_a_span_is_that_long_ago_with_or_without_the_word(text: str) -> None:
    off = read(text) - (datetime.now(UTC) - timedelta(hours=2))

    assert abs(off) < timedelta(seconds=30)


def test_a_time_is_utc_unless_it_says_otherwise() -> None:
    assert read("2026-11-20T23:42") == datetime(2026, 11, 20, 23, 42, tzinfo=UTC)
    assert read("2026-11-20T23:42+01:00") == datetime(2026, 11, 20, 22, 42, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soon", "2x", "٢h", "999999d", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"]
)
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time"):
        read(text)
