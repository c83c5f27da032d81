"""Continuity: a stream is read on only where Postgres stands, and only if it is the same stream."""

import pytest

from services.ingest.stream import NOTHING_YET, Continuity, Gap, Position, Progress
from shared.errors import Refusal
from tests.support.messages import received

FRESH = Position("s", "life", NOTHING_YET, b"")
STORED = FRESH.after(41, b"the last one stored")


def test_a_stream_never_read_is_read_from_its_first_message() -> None:
    reading = Continuity(FRESH, begun=False)
    assert reading.ask_for() == "first"
    assert reading.accept(0, b"a")


def test_a_stream_never_read_may_begin_at_any_offset() -> None:
    assert Continuity(FRESH, begun=False).accept(500, b"a")


def test_reading_goes_on_with_the_last_message_stored_and_does_not_take_it_again() -> None:
    reading = Continuity(STORED, begun=True)
    assert reading.ask_for() == 41
    assert not reading.accept(41, b"the last one stored")
    assert reading.anchored
    assert reading.accept(42, b"b")


def test_another_message_at_the_last_offset_means_that_the_stream_was_made_anew() -> None:
    with pytest.raises(Refusal, match="made anew"):
        Continuity(STORED, begun=True).accept(41, b"something else")


def test_a_later_first_message_means_that_retention_cut_what_was_not_read() -> None:
    with pytest.raises(Refusal, match="retention"):
        Continuity(STORED, begun=True).accept(60, b"b")


def test_offsets_may_jump_right_after_the_message_that_was_seen_to_be_there() -> None:
    reading = Continuity(STORED, begun=True)
    reading.accept(41, b"the last one stored")
    assert reading.accept(50, b"b")


def test_a_jump_later_on_is_looked_at_again() -> None:
    reading = Continuity(STORED, begun=True)
    reading.accept(41, b"the last one stored")
    reading.accept(42, b"b")
    with pytest.raises(Gap):
        reading.accept(44, b"c")


@pytest.mark.parametrize("before", [NOTHING_YET, 499])
def test_while_the_first_message_is_deferred_reading_begins_with_it_and_with_nothing_else(
    before: int,
) -> None:
    start = Position("s", "life", before, b"")
    reading = Continuity(start, begun=True)
    assert (reading.ask_for(), reading.anchored) == (before + 1, False)
    assert reading.accept(before + 1, b"deferred")
    assert reading.anchored
    with pytest.raises(Refusal, match="retention"):
        Continuity(start, begun=True).accept(before + 4, b"stored")


def test_identities_of_two_lives_of_a_stream_differ() -> None:
    assert FRESH.identity(1) != Position("s", "another life", NOTHING_YET, b"").identity(1)


def progress(settled: int, ahead: int = NOTHING_YET) -> Progress:
    start = Position("s", "life", settled, b"")
    return Progress(start, Position("s ahead life", "life", ahead, b""), start)


def reached(found: Progress) -> tuple[int, int]:
    return found.settled.reached, found.ahead.reached


def test_without_deferred_messages_the_position_follows_what_is_stored() -> None:
    found = progress(4).stored(received(b"a"), 9).stored(received(b"b"), 12)
    assert reached(found) == (12, NOTHING_YET)
    assert found.settled == progress(4).settled.after(12, b"b")


def test_the_position_stays_before_the_first_deferred_message_until_it_is_settled() -> None:
    found = progress(4).stored(received(b"a"), 9, [7]).stored(received(b"b"), 12, [11])
    assert reached(found) == (4, 12)
    assert reached(found.still_deferred([7, 11])) == (4, 12)
    assert reached(found.still_deferred([11])) == (9, 12)
    later = found.still_deferred([])
    assert reached(later) == (12, 12)
    assert later.settled == progress(4).settled.after(12, b"b")
    assert reached(later.stored(received(b"c"), 13)) == (13, 12)


def test_while_the_first_message_is_deferred_the_position_says_where_it_was() -> None:
    found = progress(NOTHING_YET)
    assert not found.begun
    found = found.starting_at(500).stored(received(b"a"), 509, [1])
    assert (found.begun, reached(found), found.settled.body_sha256) == (True, (499, 509), b"")
    assert found.starting_at(510) == found
    assert reached(found.still_deferred([])) == (509, 509)
    assert reached(progress(NOTHING_YET).starting_at(500).stored(received(b"a"), 509)) == (509, -1)


def test_what_was_ever_stored_ahead_is_not_forgotten_while_it_is_read_again() -> None:
    assert reached(progress(4, ahead=100).stored(received(b"a"), 9, [7])) == (4, 100)
    assert reached(progress(4, ahead=100).stored(received(b"a"), 101, [7])) == (4, 101)
