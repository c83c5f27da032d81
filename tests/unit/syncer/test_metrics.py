"""Ages that the syncer shows go on growing between two reports, whatever stands still."""

import math
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from services.syncer import core, metrics
from services.syncer.core import ObservedWatermark, Watermark


@pytest.fixture(autouse=True)
def nothing_unfolded() -> Iterator[None]:
    metrics.OLDEST_UNFOLDED.began = None
    yield
    metrics.OLDEST_UNFOLDED.began = None


def unfolded() -> float:
    return REGISTRY.get_sample_value("minutebook_oldest_unfolded_seconds") or 0.0


def watermark() -> float:
    return REGISTRY.get_sample_value("minutebook_watermark_age_seconds") or 0.0


def test_the_oldest_row_ages_until_a_tick_counts_it_whatever_younger_ones_come() -> None:
    metrics.folded(0, 0.0, 0.01)
    assert unfolded() == 0
    metrics.folded(3, 100.0, 0.01)
    metrics.folded(1, 2.0, 0.01)
    metrics.folded(0, 0.0, 0.01)
    first = unfolded()
    assert first >= 100
    assert unfolded() > first
    metrics.OLDEST_UNFOLDED.began = None
    assert unfolded() == 0


def test_while_nothing_is_known_of_the_outbox_its_oldest_row_has_no_age() -> None:
    metrics.folded(3, 100.0, 0.01)
    metrics.OLDEST_UNFOLDED.began = math.nan
    assert math.isnan(unfolded())
    metrics.OLDEST_UNFOLDED.began = None
    metrics.folded(1, 2.0, 0.01)
    assert 2 <= unfolded() < 100


def test_who_stands_by_says_nothing_of_what_it_once_found() -> None:
    metrics.DEFAULT_PARTITION_ROWS.set(3)
    metrics.standing_by()
    assert math.isnan(REGISTRY.get_sample_value("minutebook_default_partition_rows") or 0.0)


def test_an_older_row_that_comes_later_is_the_oldest() -> None:
    metrics.folded(1, 2.0, 0.01)
    metrics.folded(1, 100.0, 0.01)
    assert unfolded() >= 100


def test_before_keydb_was_ever_reached_its_watermark_is_as_old_as_the_syncer_at_least() -> None:
    assert watermark() > 0


def test_a_boundary_seen_again_is_no_younger() -> None:
    assert metrics.shown("2026-11-20T23:42:00Z", 100.0)
    assert not metrics.shown("2026-11-20T23:42:00Z", 0.0)
    assert watermark() >= 100
    metrics.shown("2026-11-20T23:43:00Z", 0.5)
    assert 0.5 <= watermark() < 100


def test_a_watermark_that_cannot_be_understood_tells_no_lateness() -> None:
    def late(boundary: str, applied_at_s: float | None) -> float | None:
        return core.lateness_s(
            ObservedWatermark("1", "t", Watermark(1, "t", boundary), applied_at_s)
        )

    assert late("2026-11-20T23:42:00Z", 1795218120.25) == 0.25
    assert late("2026-11-20T23:42:00Z", None) is None
    assert late("yesterday", 1.0) is None
    assert core.lateness_s(ObservedWatermark("", "", None)) is None
