"""Continuity: a stream is read on only where Postgres stands, and only if it is the same stream."""

import pytest

from services.ingest.stream import NOTHING_YET, Continuity, Gap, Position
from shared.errors import Refusal

FRESH = Position("s", "life", NOTHING_YET, b"")
STORED = FRESH.after(41, b"the last one stored")


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


def test_identities_of_two_lives_of_a_stream_differ() -> None:
    assert FRESH.identity(1) != Position("s", "another life", NOTHING_YET, b"").identity(1)
