"""Boundaries under a clock that steps."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ticker.core import Boundaries

START = 1_800_000_000
INTERVALS = st.sampled_from([1, 2, 7, 60])
MILLISECONDS = st.floats(0, 0.05)


@dataclass
class Walk:
    """Boundaries driven by a clock, and what they handed out and reported since the last reset."""

    interval_s: int
    boundaries: Boundaries
    now: float
    handed_out: list[int] = field(default_factory=list)
    missed: int = 0
    resets: int = 0

    def step(self, by_s: float) -> int | None:
        """Move the clock and do what the ticker does."""
        self.now += by_s
        due = self.boundaries.due(self.now)
        self.missed += due.missed
        if due.stepped_back:
            self.resets += 1
            self.handed_out, self.missed = [], 0
        if due.boundary is not None:
            self.boundaries.done(due.boundary)
            self.handed_out.append(due.boundary)
        return due.boundary


def walk(interval_s: int, at: float = START) -> Walk:
    return Walk(interval_s, Boundaries(interval_s, at), at)


def passed(interval_s: int, after: float, until: float) -> int:
    return int(until // interval_s) - int(after // interval_s)


@given(INTERVALS, st.lists(st.floats(0, 500)))
def test_going_forward_every_boundary_is_handed_out_once_or_counted_as_missed(
    interval_s: int, steps: list[float]
) -> None:
    walked = walk(interval_s)
    for by_s in steps:
        walked.step(by_s)
    assert len(walked.handed_out) + walked.missed == passed(interval_s, START, walked.now)
    assert walked.handed_out == sorted(set(walked.handed_out))
    assert all(boundary % interval_s == 0 for boundary in walked.handed_out)


@given(INTERVALS, st.lists(st.floats(-500, 500)))
def test_with_steps_back_nothing_repeats_unless_a_step_back_was_reported(
    interval_s: int, steps: list[float]
) -> None:
    walked = walk(interval_s)
    begin = START
    for by_s in steps:
        resets = walked.resets
        walked.step(by_s)
        if walked.resets > resets:
            begin = int(walked.now // interval_s) * interval_s
        newest = walked.handed_out[-1] if walked.handed_out else begin
        assert walked.handed_out == sorted(set(walked.handed_out))
        assert len(walked.handed_out) + walked.missed == passed(interval_s, begin, newest)


@given(INTERVALS, st.lists(st.floats(-500, 500)))
def test_what_is_handed_out_has_come_and_is_the_newest_that_has(
    interval_s: int, steps: list[float]
) -> None:
    walked = walk(interval_s)
    for by_s in steps:
        boundary = walked.step(by_s)
        assert boundary is None or boundary <= walked.now < boundary + interval_s


@given(INTERVALS, st.integers(1, 1000), st.lists(MILLISECONDS, min_size=1))
def test_jitter_of_milliseconds_at_a_boundary_neither_repeats_nor_loses_it(
    interval_s: int, ahead: int, jitter: list[float]
) -> None:
    boundary = (START // interval_s + ahead) * interval_s
    walked = walk(interval_s, boundary - 0.5)
    for off_s in jitter:
        for at in (boundary + off_s, boundary - off_s):
            walked.step(at - walked.now)
    assert walked.handed_out == [boundary]
    walked.step(boundary + interval_s - walked.now)
    assert walked.handed_out == [boundary, boundary + interval_s]
    assert (walked.missed, walked.resets) == (0, 0)


@given(INTERVALS, st.integers(2, 10**6))
def test_a_leap_forward_hands_out_one_boundary_and_counts_the_others(
    interval_s: int, intervals: int
) -> None:
    walked = walk(interval_s)
    walked.step(intervals * interval_s)
    assert walked.step(0) is None
    assert len(walked.handed_out) == 1
    assert walked.missed == intervals - 1


@given(INTERVALS, st.integers(2, 10**6))
def test_after_a_leap_back_the_next_boundary_of_the_new_time_is_handed_out(
    interval_s: int, intervals: int
) -> None:
    walked = walk(interval_s)
    walked.step(interval_s)
    walked.step(-(intervals + 1) * interval_s)
    assert walked.resets == 1
    assert walked.step(interval_s) == int(walked.now // interval_s) * interval_s


def test_a_step_back_by_less_than_an_interval_waits_for_the_next_new_boundary() -> None:
    walked = walk(60)
    walked.step(60.5)
    assert walked.step(-40) is None
    assert walked.step(39.9) is None
    assert walked.step(60) == START + 120
    assert walked.resets == 0


def test_a_boundary_that_was_not_published_is_due_again() -> None:
    boundaries = Boundaries(60, START)
    assert boundaries.due(START + 61).boundary == START + 60
    assert boundaries.due(START + 62).boundary == START + 60


def test_the_boundary_at_which_the_ticker_starts_has_passed() -> None:
    boundaries = Boundaries(60, START)
    assert boundaries.due(START + 59.9).boundary is None
    assert boundaries.next_at() == START + 60


@given(INTERVALS, st.floats(0, 1000))
def test_skipping_lets_go_of_all_that_passed_and_counts_them(
    interval_s: int, away_s: float
) -> None:
    boundaries = Boundaries(interval_s, START)
    now = START + away_s
    assert boundaries.skip(now) == passed(interval_s, START, now)
    assert boundaries.due(now).boundary is None
    assert boundaries.skip(now) == 0


@pytest.mark.parametrize("back_s", [0.001, 1, 600])
def test_skipping_under_a_clock_that_went_back_counts_nothing(back_s: float) -> None:
    boundaries = Boundaries(60, START)
    assert boundaries.skip(START - back_s) == 0
    assert boundaries.next_at() == START + 60
