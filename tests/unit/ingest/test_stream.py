"""Continuity: a stream is read on only where Postgres stands, and only if it is the same stream."""

import pytest

from services.ingest.stream import NOTHING_YET, Continuity, Gap, Position, Progress
from shared.errors import Refusal
from tests.support.messages import received

NOTHING = Position("s", "life", NOTHING_YET, b"")


def progress(settled: Position, ahead: int = NOTHING_YET) -> Progress:
    return Progress(settled, Position("s ahead life", "life", ahead, b""), NOTHING, settled)


FRESH = progress(NOTHING)
STORED = progress(NOTHING.after(41, b"the last one stored"))


def test_a_stream_never_read_is_read_from_its_first_message() -> None:
    reading = Continuity(FRESH)
    assert reading.ask_for() == "first"
    assert reading.accept(0, b"a")


def test_a_stream_never_read_may_begin_at_any_offset() -> None:
    assert Continuity(FRESH).accept(500, b"a")


def test_reading_goes_on_with_the_last_message_stored_and_does_not_take_it_again() -> None:
    reading = Continuity(STORED)
    assert reading.ask_for() == 41
    assert not reading.accept(41, b"the last one stored")
    assert reading.anchored
    assert reading.accept(42, b"b")


def test_another_message_at_the_last_offset_means_that_the_stream_was_made_anew() -> None:
    with pytest.raises(Refusal, match="made anew"):
        Continuity(STORED).accept(41, b"something else")


def test_a_later_first_message_means_that_retention_cut_what_was_not_read() -> None:
    with pytest.raises(Refusal, match="retention"):
        Continuity(STORED).accept(60, b"b")


def test_offsets_may_jump_right_after_the_message_that_was_seen_to_be_there() -> None:
    reading = Continuity(STORED)
    reading.accept(41, b"the last one stored")
    assert reading.accept(50, b"b")


def test_a_jump_later_on_is_looked_at_again() -> None:
    reading = Continuity(STORED)
    reading.accept(41, b"the last one stored")
    reading.accept(42, b"b")
    with pytest.raises(Gap):
        reading.accept(44, b"c")


@pytest.mark.parametrize("first", [0, 500])
def test_while_the_first_message_is_deferred_reading_begins_with_it_and_with_nothing_else(
    first: int,
) -> None:
    deferred = received(b"deferred")
    start = FRESH.starting_with(deferred, first).stored(deferred, first, [1])
    reading = Continuity(start)
    assert (reading.ask_for(), reading.anchored) == (first, False)
    assert reading.accept(first, b"deferred")
    assert reading.anchored
    with pytest.raises(Refusal, match="retention"):
        Continuity(start).accept(first + 3, b"stored")
    with pytest.raises(Refusal, match="made anew"):
        Continuity(start).accept(first, b"something else")
    with pytest.raises(Gap):
        reading.accept(first + 3, b"stored")


def test_identities_of_two_lives_of_a_stream_differ() -> None:
    assert NOTHING.identity(1) != Position("s", "another life", NOTHING_YET, b"").identity(1)


def up_to(settled: int, ahead: int = NOTHING_YET) -> Progress:
    return progress(NOTHING.after(settled, b"x"), ahead)


def reached(found: Progress) -> tuple[int, int]:
    return found.settled.reached, found.ahead.reached


def test_without_deferred_messages_the_position_follows_what_is_stored() -> None:
    found = up_to(4).stored(received(b"a"), 9).stored(received(b"b"), 12)
    assert reached(found) == (12, NOTHING_YET)
    assert found.settled == up_to(4).settled.after(12, b"b")


def test_the_position_stays_before_the_first_deferred_message_until_it_is_settled() -> None:
    found = up_to(4).stored(received(b"a"), 9, [7]).stored(received(b"b"), 12, [11])
    assert reached(found) == (4, 12)
    assert reached(found.still_deferred([7, 11])) == (4, 12)
    assert reached(found.still_deferred([11])) == (9, 12)
    later = found.still_deferred([])
    assert reached(later) == (12, 12)
    assert later.settled == up_to(4).settled.after(12, b"b")
    assert reached(later.stored(received(b"c"), 13)) == (13, 12)


def test_while_the_first_message_is_deferred_the_position_says_where_it_was() -> None:
    first = received(b"a")
    begun = FRESH.starting_with(first, 500)
    found = begun.stored(first, 509, [1])
    assert (reached(found), found.settled.body_sha256) == ((499, 509), b"")
    assert found.anchor == NOTHING.after(500, b"a")
    assert found.starting_with(received(b"b"), 510) == found
    assert reached(found.still_deferred([])) == (509, 509)
    assert reached(begun.stored(first, 509)) == (509, -1)


def test_what_was_ever_stored_ahead_is_not_forgotten_while_it_is_read_again() -> None:
    assert reached(up_to(4, ahead=100).stored(received(b"a"), 9, [7])) == (4, 100)
    assert reached(up_to(4, ahead=100).stored(received(b"a"), 101, [7])) == (4, 101)
