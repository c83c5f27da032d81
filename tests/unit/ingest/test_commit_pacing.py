"""When a commit of ingest may begin: apart from the last one, and not around a boundary."""

import pytest

from services.ingest.commit_pacing import (
    COMMIT_EVERY_S,
    QUIET_AFTER_S,
    QUIET_BEFORE_S,
    CommitPacing,
)

MIDNIGHT = 1_764_288_000


@pytest.mark.parametrize("interval_s", [1, 2, 60, 3600])
@pytest.mark.parametrize(
    ("after_s", "wait_s"),
    [
        (-QUIET_BEFORE_S - 0.001, 0),
        (-QUIET_BEFORE_S + 0.001, QUIET_BEFORE_S + QUIET_AFTER_S - 0.001),
        (-0.001, QUIET_AFTER_S + 0.001),
        (0, QUIET_AFTER_S),
        (QUIET_AFTER_S - 0.001, 0.001),
        (QUIET_AFTER_S + 0.001, 0),
        (0.5, 0),
    ],
)
@pytest.mark.parametrize("full", [True, False])
def test_around_a_boundary_it_waits_until_the_tick_is_done(
    interval_s: int, after_s: float, wait_s: float, *, full: bool
) -> None:
    pacing = CommitPacing(interval_s, clock=lambda: MIDNIGHT + after_s)
    assert pacing.wait_s(full=full) == pytest.approx(wait_s, abs=1e-6)


def test_within_an_interval_of_a_minute_seconds_are_no_boundaries() -> None:
    assert CommitPacing(60, clock=lambda: MIDNIGHT + 1.0).wait_s(full=False) == 0


def test_commits_begin_apart_unless_a_batch_is_full() -> None:
    pacing = CommitPacing(60, clock=lambda: MIDNIGHT + 30.0)
    assert pacing.wait_s(full=False) == 0
    pacing.begin()
    assert COMMIT_EVERY_S / 2 < pacing.wait_s(full=False) <= COMMIT_EVERY_S
    assert pacing.wait_s(full=True) == 0


def test_a_wait_that_would_end_in_the_quiet_lasts_until_its_end() -> None:
    pacing = CommitPacing(60, clock=lambda: MIDNIGHT - QUIET_BEFORE_S - COMMIT_EVERY_S / 4)
    assert pacing.wait_s(full=False) == 0
    pacing.begin()
    whole = COMMIT_EVERY_S / 4 + QUIET_BEFORE_S + QUIET_AFTER_S
    assert pacing.wait_s(full=False) == pytest.approx(whole, abs=1e-6)
    assert pacing.wait_s(full=True) == 0


def test_a_wait_that_ends_after_the_quiet_is_no_longer_for_it() -> None:
    pacing = CommitPacing(60, clock=lambda: MIDNIGHT + QUIET_AFTER_S - 0.001)
    pacing.begin()
    assert COMMIT_EVERY_S / 2 < pacing.wait_s(full=False) <= COMMIT_EVERY_S
