"""The syncer's decisions."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.syncer import core
from services.syncer.core import Accumulator, NewestTick, ObservedWatermark, Watermark

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EPOCHS = st.integers(0, 10**18 - 1)
TARGET = Watermark(7, "seven")


def newest(epoch: int) -> NewestTick:
    return NewestTick(
        epoch=epoch,
        token="token",
        due_epoch=epoch,
        due_token="token",
        due_boundary=NOON,
        snapshot="1:1:",
        same_cluster=True,
        read_at=NOON,
    )


def observed(epoch: int) -> ObservedWatermark:
    return core.parse_watermark(str(epoch), "token", "")


def classified(
    boundary: datetime, written: datetime | None, *, now: datetime | None = None
) -> core.BoundaryClass:
    """Classify a boundary that comes on time, unless it is another time `now`."""
    before = replace(newest(1), due_boundary=written, read_at=now or boundary)
    return core.classify_boundary(boundary, before)


def test_the_first_boundary_ever_is_new() -> None:
    assert classified(NOON, None) == "new"


def test_a_boundary_after_the_newest_is_new() -> None:
    assert classified(NOON + MINUTE, NOON) == "new"


def test_the_newest_boundary_again_is_already_written() -> None:
    assert classified(NOON, NOON) == "repeated"


def test_a_boundary_before_the_newest_is_old() -> None:
    assert classified(NOON - MINUTE, NOON) == "old"


@pytest.mark.parametrize("before", [None, NOON - MINUTE])
@pytest.mark.parametrize(("ahead", "expected"), [(core.AHEAD_MAX, "new"), (MINUTE, "ahead")])
def test_a_boundary_in_the_future_beyond_the_tolerance_is_refused(
    before: datetime | None, ahead: timedelta, expected: str
) -> None:
    assert classified(NOON, before, now=NOON - ahead) == expected


def test_a_boundary_that_is_written_stays_written_when_the_clock_went_back() -> None:
    assert classified(NOON, NOON, now=NOON - MINUTE) == "repeated"


def test_a_newest_boundary_that_is_false_makes_no_other_one_old() -> None:
    assert classified(NOON, NOON + core.FALSE_AHEAD) == "old"
    assert classified(NOON, NOON + core.FALSE_AHEAD + MINUTE) == "new"
    assert classified(NOON, NOON, now=NOON - core.FALSE_AHEAD - MINUTE) == "repeated"
    far = NOON - core.FALSE_AHEAD - 2 * MINUTE
    assert classified(NOON - MINUTE, NOON, now=far) == "ahead"


@pytest.mark.parametrize(
    ("applied_at_s", "expected"),
    [("1700000000.000001", 1700000000.000001), ("", None), ("x", None), ("nan", None), ("1", None)],
)
def test_when_a_watermark_was_applied_is_taken_over_only_if_it_is_a_time(
    applied_at_s: str, expected: float | None
) -> None:
    assert core.parse_watermark("1", "one", "", applied_at_s).applied_at_s == expected


@given(EPOCHS, EPOCHS)
def test_the_next_epoch_is_above_what_postgres_and_keydb_have(ours: int, theirs: int) -> None:
    epoch = core.next_epoch(newest(ours), observed(theirs))
    assert epoch > ours
    assert epoch > theirs
    assert epoch == 1 + max(ours, theirs)


@pytest.mark.parametrize(
    "unread", [None, core.parse_watermark("", "", ""), ObservedWatermark("x", "y", None)]
)
def test_a_store_that_shows_no_epoch_does_not_move_ours(unread: ObservedWatermark | None) -> None:
    assert core.next_epoch(newest(4), unread) == 5


TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(EPOCHS, TOKENS, st.text())
def test_a_watermark_is_understood(epoch: int, token: str, boundary: str) -> None:
    understood = core.parse_watermark(str(epoch), token, boundary)
    assert understood == ObservedWatermark(str(epoch), token, Watermark(epoch, token, boundary))


@pytest.mark.parametrize(
    "raw_epoch", ["", "x", "-1", "1.0", "1e3", " 1", "0x1", "٣", "²", "1" * 19, "1\x00", "None"]
)
def test_a_malformed_epoch_makes_no_sense_but_can_be_compared(raw_epoch: str) -> None:
    assert core.parse_watermark(raw_epoch, "token", "") == ObservedWatermark(
        raw_epoch, "token", None
    )


def test_an_epoch_without_a_token_names_no_tick() -> None:
    assert core.parse_watermark("3", "", "") == ObservedWatermark("3", "", None)


@given(st.text(), st.text(), st.text())
def test_whatever_the_store_shows_is_kept_as_it_was_read(
    raw_epoch: str, raw_token: str, boundary: str
) -> None:
    understood = core.parse_watermark(raw_epoch, raw_token, boundary)
    assert (understood.raw_epoch, understood.raw_token) == (raw_epoch, raw_token)
    assert understood.watermark is None or understood.watermark.epoch < 10**18


@pytest.mark.parametrize(
    ("epoch", "ours", "way"),
    [
        (6, True, "changes"),
        (7, True, "done"),
        (8, True, "done"),
        (6, False, "everything"),
        (7, False, "wait"),
        (8, False, "wait"),
    ],
)
def test_our_own_later_tick_is_left_and_a_foreign_epoch_never_taken_back(
    epoch: int, *, ours: bool, way: str
) -> None:
    assert core.classify_watermark(Watermark(epoch, "token"), TARGET, ours=ours) == way


def test_a_store_without_a_watermark_is_sent_everything() -> None:
    assert core.classify_watermark(None, TARGET, ours=False) == "everything"


SUMS = st.lists(st.tuples(st.integers(1, 4), st.integers(-(2**70), 2**70)))


@given(st.lists(SUMS))
def test_an_accumulator_adds_up_every_read_per_provider(reads: list[list[tuple[int, int]]]) -> None:
    read = Accumulator("base", "first")
    for number, sums in enumerate(reads):
        read.add(f"snapshot-{number}", sums, len(sums))
    entries = [entry for sums in reads for entry in sums]
    expected = {p: sum(a for q, a in entries if q == p) for p, _ in entries}
    assert read.sums == expected
    assert read.rows == len(entries)
    assert read.base == "base"
    assert read.snapshot == (f"snapshot-{len(reads) - 1}" if reads else "first")


def test_accumulators_do_not_share_their_sums() -> None:
    Accumulator("a", "s").add("t", [(1, 5)], 1)
    assert Accumulator("b", "s").sums == {}


def test_a_boundary_is_written_in_rfc_3339_with_z() -> None:
    assert core.rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
