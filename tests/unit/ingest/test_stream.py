"""Continuity: a stream is read on only where Postgres stands, and only if it is the same stream."""

import pytest

from services.ingest.stream import Continuity, Gap, Message, Position
from shared.errors import Refusal

FRESH = Position("s", "life")
STORED = FRESH.after(Message.of(41, b"the last one stored"))


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


def test_another_message_at_the_last_offset_means_that_the_stream_was_created_again() -> None:
    with pytest.raises(Refusal, match="created again"):
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


@pytest.mark.parametrize("position", [FRESH, STORED])
def test_while_a_message_is_deferred_reading_begins_with_it_and_with_nothing_else(
    position: Position,
) -> None:
    start = position.after(Message.of(509, b"stored"), Message.of(500, b"deferred"))
    reading = Continuity(start)
    assert (reading.ask_for(), reading.anchored) == (500, False)
    assert reading.accept(500, b"deferred")
    assert reading.anchored
    with pytest.raises(Refusal, match="retention"):
        Continuity(start).accept(503, b"stored")
    with pytest.raises(Refusal, match="created again"):
        Continuity(start).accept(500, b"something else")
    with pytest.raises(Gap):
        reading.accept(503, b"stored")


def test_identities_of_two_lives_of_a_stream_differ() -> None:
    assert FRESH.identity(1) != Position("s", "another life").identity(1)


def test_without_deferred_messages_what_is_stored_last_is_what_must_be_there() -> None:
    last = Message.of(12, b"b")
    assert FRESH.after(Message.of(9, b"a")).after(last).anchor == last


def test_while_a_message_is_deferred_it_is_what_must_be_there_until_it_is_stored() -> None:
    last, first, second = Message.of(12, b"c"), Message.of(7, b"a"), Message.of(11, b"b")
    for deferred, anchor in ((first, first), (second, second), (None, last)):
        found = FRESH.after(last, deferred)
        assert (found.reached, found.anchor) == (12, anchor)


def test_the_position_stays_while_messages_are_read_again_that_it_has_passed() -> None:
    deferred = Message.of(7, b"deferred")
    position = FRESH.after(Message.of(100, b"last"), deferred)
    assert position.after(Message.of(9, b"a"), Message.of(8, b"b")) == position
    assert position.after(Message.of(99, b"a")) == position
    assert position.after(Message.of(100, b"last")).anchor == Message.of(100, b"last")
    assert position.after(Message.of(101, b"a"), deferred).anchor == deferred
