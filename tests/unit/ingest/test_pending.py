"""Between the two threads messages keep their order, and their bytes have a bound."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.core import Validated
from services.ingest.pending import BYTES_MAX, Pending
from services.ingest.turns import Batch
from tests.support.messages import validated

SMALL = validated(b"x")
HALF = validated(b"x" * (BYTES_MAX // 2))


def tags(batch: Batch) -> list[int]:
    return [message.delivery.tag for message in batch.messages]


def one_taken(pending: Pending, most: int = 10) -> Batch:
    batch = pending.take(most)
    assert batch
    return batch


def added(pending: Pending, *messages: Validated) -> None:
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
        added(pending, *(validated(b"", tag=number) for number in range(tag + 1, tag + size + 1)))
        tag += size
        if batch := pending.take(most):
            assert len(batch.messages) <= most
            taken += tags(batch)
    while batch := pending.take(most):
        taken += tags(batch)
    assert taken == list(range(1, tag + 1))


def test_there_is_no_room_while_too_many_bytes_are_in_hand_even_after_they_were_taken() -> None:
    pending = Pending()
    added(pending, HALF, HALF)
    assert pending.wait_for_room(0)
    added(pending, validated(b"x"))
    assert not pending.wait_for_room(0)
    batch = one_taken(pending)
    assert not pending.wait_for_room(0)
    pending.let_go(batch, 1)
    assert pending.wait_for_room(0)


def test_whoever_waits_for_room_goes_on_as_soon_as_there_is_some() -> None:
    pending, found = Pending(), []
    added(pending, HALF, HALF, HALF)
    thread = threading.Thread(target=lambda: found.append(pending.wait_for_room(20)))
    thread.start()
    pending.let_go(one_taken(pending), 3)
    thread.join(5)
    assert found == [True]


def test_whoever_waits_for_messages_goes_on_as_soon_as_they_are_announced() -> None:
    pending, found = Pending(), []
    thread = threading.Thread(target=lambda: found.append(pending.wait_for_any(20)))
    thread.start()
    added(pending, HALF)
    thread.join(5)
    assert found == [True]
    assert one_taken(pending).messages == [HALF]


def test_nothing_comes_of_waiting_in_vain() -> None:
    assert not Pending().wait_for_any(0)
    assert not Pending().wait_for_many(1, 0)
    assert Pending().take(10) is None


def test_the_age_of_a_batch_is_that_of_its_oldest_message() -> None:
    pending = Pending()
    added(pending, HALF)
    first = one_taken(pending)
    added(pending, HALF)
    added(pending, HALF)
    assert 0 < first.oldest_at <= one_taken(pending).oldest_at


def test_a_message_left_behind_by_a_full_batch_keeps_its_age() -> None:
    pending = Pending()
    added(pending, HALF, HALF)
    first = one_taken(pending, 1)
    added(pending, HALF)
    left_behind, later = one_taken(pending, 1), one_taken(pending, 1)
    assert first.oldest_at == left_behind.oldest_at < later.oldest_at


def test_whoever_waits_for_many_is_not_woken_by_a_few() -> None:
    pending, found = Pending(), []
    thread = threading.Thread(target=lambda: found.append(pending.wait_for_many(3, 20)))
    thread.start()
    added(pending, SMALL, SMALL)
    thread.join(0.05)
    assert thread.is_alive()
    added(pending, SMALL)
    thread.join(5)
    assert found == [True]


def test_what_was_given_back_comes_first_and_with_it_what_came_since() -> None:
    pending = Pending()
    added(pending, *(validated(b"", tag=tag) for tag in range(1, 5)))
    oldest, younger = one_taken(pending, 1), one_taken(pending, 2)
    added(pending, validated(b"", tag=5))
    pending.turns.give_back(oldest)
    oldest = one_taken(pending, 10)
    assert tags(oldest) == [1], "not what comes behind the other one in hand"
    pending.turns.give_back(younger)
    pending.turns.give_back(oldest)
    assert pending.waiting() == 5
    assert pending.wait_for_any(0)
    again = one_taken(pending, 2)
    assert (tags(again), again.oldest_at) == ([1, 2], oldest.oldest_at)
    assert tags(one_taken(pending, 10)) == [3, 4, 5]
    assert not pending.settled()
