"""Between the two threads messages keep their order, and their bytes have a bound."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core import Judged
from services.ingest.pending import BYTES_MAX, Pending
from tests.support.messages import judged

HALF = judged(b"x" * (BYTES_MAX // 2))


def added(pending: Pending, *messages: Judged) -> None:
    """Add and announce, as one poll does."""
    for message in messages:
        pending.add(message)
    pending.announce()


@given(st.lists(st.integers(0, 7), max_size=20), st.integers(1, 5))
def test_messages_come_out_in_the_order_in_which_they_came_and_at_most_so_many(
    polls: list[int], most: int
) -> None:
    pending, tag, taken = Pending(), 0, []
    for size in polls:
        added(pending, *(judged(b"", tag=number) for number in range(tag + 1, tag + size + 1)))
        tag += size
        batch, _ = pending.take(most)
        assert len(batch) <= most
        taken += [message.message.tag for message in batch]
    while batch := pending.take(most)[0]:
        taken += [message.message.tag for message in batch]
    assert taken == list(range(1, tag + 1))


def test_there_is_no_room_while_too_many_bytes_are_in_hand_even_after_they_were_taken() -> None:
    pending = Pending()
    added(pending, HALF, HALF)
    assert pending.wait_for_room(0)
    added(pending, judged(b"x"))
    assert not pending.wait_for_room(0)
    batch, _ = pending.take(10)
    assert not pending.wait_for_room(0)
    pending.finished(batch)
    assert pending.wait_for_room(0)


def test_whoever_waits_for_room_goes_on_as_soon_as_there_is_some() -> None:
    pending, found = Pending(), []
    added(pending, HALF, HALF, HALF)
    thread = threading.Thread(target=lambda: found.append(pending.wait_for_room(20)))
    thread.start()
    pending.finished(pending.take(10)[0])
    thread.join(5)
    assert found == [True]


def test_whoever_waits_for_messages_goes_on_as_soon_as_they_are_announced() -> None:
    pending, found = Pending(), []
    thread = threading.Thread(target=lambda: found.append(pending.wait_for_any(20)))
    thread.start()
    added(pending, HALF)
    thread.join(5)
    assert found == [True]
    assert pending.take(10)[0] == [HALF]


def test_nothing_comes_of_waiting_in_vain() -> None:
    assert not Pending().wait_for_any(0)
    assert Pending().take(10)[0] == []


def test_the_age_of_a_batch_is_that_of_its_oldest_message() -> None:
    pending = Pending()
    added(pending, HALF)
    _, first = pending.take(10)
    added(pending, HALF)
    added(pending, HALF)
    _, second = pending.take(10)
    assert 0 < first <= second


def test_a_message_left_behind_by_a_full_batch_keeps_its_age() -> None:
    pending = Pending()
    added(pending, HALF, HALF)
    _, first = pending.take(1)
    added(pending, HALF)
    _, left_behind = pending.take(1)
    _, later = pending.take(1)
    assert first == left_behind < later
