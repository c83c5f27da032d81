"""The syncer's decisions."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.syncer import core
from services.syncer.core import Found, Memory, NewestTick, Watermark

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
        boundary=NOON,
        snapshot="1:1:",
        same_cluster=True,
        read_at=NOON,
    )


def found(epoch: int) -> Found:
    return core.understand(str(epoch), "token", "")


def test_the_first_boundary_ever_is_folded() -> None:
    assert core.judge(NOON, None, ahead=False) == "fold"


def test_a_boundary_after_the_newest_is_folded() -> None:
    assert core.judge(NOON + MINUTE, NOON, ahead=False) == "fold"


def test_the_newest_boundary_again_is_already_written() -> None:
    assert core.judge(NOON, NOON, ahead=False) == "written"


def test_a_boundary_before_the_newest_is_old() -> None:
    assert core.judge(NOON - MINUTE, NOON, ahead=False) == "old"


@pytest.mark.parametrize("before", [None, NOON - MINUTE])
def test_a_boundary_in_the_future_is_refused(before: datetime | None) -> None:
    assert core.judge(NOON, before, ahead=True) == "ahead"


def test_a_boundary_that_is_written_stays_written_when_the_clock_went_back() -> None:
    assert core.judge(NOON, NOON, ahead=True) == "written"


def test_a_newest_boundary_that_is_false_makes_no_other_one_old() -> None:
    assert core.judge(NOON - MINUTE, NOON, ahead=False, newest_is_false=True) == "fold"
    assert core.judge(NOON, NOON, ahead=True, newest_is_false=True) == "written"
    assert core.judge(NOON - MINUTE, NOON, ahead=True, newest_is_false=True) == "ahead"


@pytest.mark.parametrize(
    ("applied_at_s", "expected"),
    [("1700000000.000001", 1700000000.000001), ("", None), ("x", None), ("nan", None), ("1", None)],
)
def test_when_a_watermark_was_applied_is_taken_over_only_if_it_is_a_time(
    applied_at_s: str, expected: float | None
) -> None:
    assert core.understand("1", "one", "", applied_at_s).applied_at_s == expected


@given(EPOCHS, EPOCHS)
def test_the_next_epoch_is_above_what_postgres_and_keydb_have(ours: int, theirs: int) -> None:
    epoch = core.next_epoch(newest(ours), found(theirs))
    assert epoch > ours
    assert epoch > theirs
    assert epoch == 1 + max(ours, theirs)


@pytest.mark.parametrize("unread", [None, core.understand("", "", ""), Found("x", "y", None)])
def test_a_store_that_shows_no_epoch_does_not_move_ours(unread: Found | None) -> None:
    assert core.next_epoch(newest(4), unread) == 5


TOKENS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(EPOCHS, TOKENS, st.text())
def test_a_watermark_is_understood(epoch: int, token: str, boundary: str) -> None:
    understood = core.understand(str(epoch), token, boundary)
    assert understood == Found(str(epoch), token, Watermark(epoch, token, boundary))


@pytest.mark.parametrize(
    "raw_epoch", ["", "x", "-1", "1.0", "1e3", " 1", "0x1", "٣", "²", "1" * 19, "1\x00", "None"]
)
def test_a_garbled_epoch_has_no_mark_but_can_be_compared(raw_epoch: str) -> None:
    assert core.understand(raw_epoch, "token", "") == Found(raw_epoch, "token", None)


def test_an_epoch_without_a_token_names_no_tick() -> None:
    assert core.understand("3", "", "") == Found("3", "", None)


@given(st.text(), st.text(), st.text())
def test_whatever_the_store_shows_is_kept_as_it_was_read(
    raw_epoch: str, raw_token: str, boundary: str
) -> None:
    understood = core.understand(raw_epoch, raw_token, boundary)
    assert (understood.raw_epoch, understood.raw_token) == (raw_epoch, raw_token)
    assert understood.mark is None or understood.mark.epoch < 10**18


@pytest.mark.parametrize(
    ("epoch", "known", "settled", "waits"),
    [
        (6, True, False, False),
        (7, True, True, False),
        (8, True, True, False),
        (6, False, False, False),
        (7, False, False, True),
        (8, False, False, True),
    ],
)
def test_a_store_is_settled_by_our_own_later_tick_and_never_taken_back_from_a_foreign_one(
    epoch: int, *, known: bool, settled: bool, waits: bool
) -> None:
    assert core.settled(found(epoch), known=known, target=TARGET) is settled
    assert core.must_wait(found(epoch), known=known, target=TARGET) is waits


def test_a_store_without_a_watermark_is_neither_settled_nor_waited_for() -> None:
    nothing = core.understand("", "", "")
    assert not core.settled(nothing, known=False, target=TARGET)
    assert not core.must_wait(nothing, known=False, target=TARGET)


SUMS = st.lists(st.tuples(st.integers(1, 4), st.integers(-(2**70), 2**70)))


@given(st.lists(SUMS))
def test_memory_adds_up_every_read_per_provider(reads: list[list[tuple[int, int]]]) -> None:
    memory = Memory("base", "first")
    for number, sums in enumerate(reads):
        memory.add(f"snapshot-{number}", sums, len(sums))
    entries = [entry for sums in reads for entry in sums]
    expected = {p: sum(a for q, a in entries if q == p) for p, _ in entries}
    assert memory.sums == expected
    assert memory.rows == len(entries)
    assert memory.base == "base"
    assert memory.snapshot == (f"snapshot-{len(reads) - 1}" if reads else "first")


def test_memories_do_not_share_their_sums() -> None:
    Memory("a", "s").add("t", [(1, 5)], 1)
    assert Memory("b", "s").sums == {}


def test_a_boundary_is_written_in_rfc_3339_with_z() -> None:
    assert core.rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05Z"
