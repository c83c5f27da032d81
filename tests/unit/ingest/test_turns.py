"""Batches are committed and acknowledged in the order of their taking."""

import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.pending import Pending
from services.ingest.turns import Batch, NotYet
from tests.support.messages import validated

MESSAGES = 30
IN_HAND = 3
LONG_S = 20.0


@dataclass
class Channel:
    """A channel that remembers what was stored and what was acknowledged."""

    pending: Pending = field(default_factory=Pending)
    in_hand: list[Batch] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)

    def receive(self, count: int) -> None:
        for tag in range(1, count + 1):
            self.pending.add(validated(b"", f"m{tag}", tag=tag))
        self.pending.announce()

    def take(self, most: int) -> None:
        batch = self.pending.take(most)
        if batch:
            self.in_hand.append(batch)

    def store_if_it_may(self, batch: Batch, count: int) -> None:
        """Do as a writer does: wait for the turn, commit, say so; or give the batch back."""
        try:
            self.pending.turns.wait(batch, 0)
        except NotYet:
            self.give_back(batch)
            return
        part = batch.messages[:count]
        self.stored += [one.delivery.tag for one in part]
        self.pending.stored(batch, len(part), self.acknowledged.append)
        if not batch.messages:
            self.in_hand.remove(batch)

    def give_back(self, batch: Batch) -> None:
        self.pending.turns.give_back(batch)
        self.in_hand.remove(batch)


@pytest.fixture
def channel() -> Channel:
    """Two batches in hand, of two messages each; two more messages wait."""
    channel = Channel()
    channel.receive(6)
    channel.take(2)
    channel.take(2)
    return channel


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "store", "give back"]),
        st.integers(0, IN_HAND - 1),
        st.integers(1, 6),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_message_is_stored_once_and_in_order_and_acknowledged_when_it_is(
    steps: list[tuple[str, int, int]],
) -> None:
    channel = Channel()
    channel.receive(MESSAGES)
    for step, which, count in steps:
        if step == "take" and len(channel.in_hand) < IN_HAND:
            channel.take(count)
        elif which < len(channel.in_hand):
            batch = channel.in_hand[which]
            if step == "store":
                channel.store_if_it_may(batch, count)
            elif step == "give back":
                channel.give_back(batch)
        assert channel.stored == list(range(1, len(channel.stored) + 1))
        assert (channel.acknowledged or [0])[-1] == len(channel.stored)
    while len(channel.stored) < MESSAGES:
        while channel.in_hand:
            channel.store_if_it_may(channel.in_hand[-1], MESSAGES)
        channel.take(MESSAGES)
    assert channel.stored == list(range(1, MESSAGES + 1))
    assert channel.pending.settled()


def test_a_batch_has_its_turn_once_the_older_one_is_stored_whole(channel: Channel) -> None:
    oldest, youngest = channel.in_hand
    turns, found = channel.pending.turns, []
    turns.wait(oldest, 0)

    def wait() -> None:
        turns.wait(youngest, LONG_S)
        found.append("turn")

    thread = threading.Thread(target=wait)
    thread.start()
    channel.store_if_it_may(oldest, 1)
    with pytest.raises(NotYet, match="late"):
        turns.wait(youngest, 0.05)
    assert found == []
    channel.store_if_it_may(oldest, 1)
    thread.join(LONG_S / 2)
    assert found == ["turn"]


def test_a_batch_does_not_wait_for_one_that_was_given_back(channel: Channel) -> None:
    oldest, youngest = channel.in_hand
    turns, found = channel.pending.turns, []

    def wait() -> None:
        try:
            turns.wait(youngest, LONG_S)
        except NotYet as error:
            found.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    turns.give_back(oldest)
    thread.join(LONG_S / 2)
    assert found == ["given back"]


def test_a_batch_that_is_let_go_holds_nobody_up(channel: Channel) -> None:
    oldest, youngest = channel.in_hand
    channel.pending.let_go(oldest, 2)
    channel.pending.turns.wait(youngest, 0)


def test_there_is_trouble_from_giving_back_to_storing(channel: Channel) -> None:
    oldest, youngest = channel.in_hand
    turns = channel.pending.turns
    trouble = [turns.in_trouble]
    channel.give_back(youngest)
    trouble.append(turns.in_trouble)
    assert not turns.wait_for_none(0)
    channel.store_if_it_may(oldest, 2)
    trouble.append(turns.in_trouble)
    assert turns.wait_for_none(0)
    assert trouble == [False, True, False]


def test_only_a_batch_with_an_identity_of_another_one_shares() -> None:
    pending = Pending()
    for tag, identity in enumerate(["a", "b", "c", "a", "d", "c"], start=1):
        pending.add(validated(b"{", identity, tag=tag))  # unfit: what counts is the identity
    shares = []
    for _ in range(3):
        batch = pending.take(2)
        assert batch
        shares.append(batch.shares)
    assert shares == [False, True, True]
