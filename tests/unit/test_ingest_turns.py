"""Batches end in their turn, whichever of the writers commits first."""

import threading
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.pending import Pending
from services.ingest.turns import Batch
from tests.support.messages import judged

IN_HAND = 3


@dataclass
class Channel:
    """A channel that remembers what was stored and what was acknowledged."""

    pending: Pending = field(default_factory=Pending)
    in_hand: list[Batch] = field(default_factory=list)
    stored: set[int] = field(default_factory=set)
    acknowledged: list[int] = field(default_factory=list)

    def receive(self, count: int) -> None:
        for tag in range(1, count + 1):
            self.pending.add(judged(b"", f"m{tag}", tag=tag))
        self.pending.announce()

    def take(self, most: int) -> None:
        batch = self.pending.take(most)
        if batch:
            self.in_hand.append(batch)

    def store(self, batch: Batch, count: int) -> None:
        part = batch.messages[:count]
        self.stored |= {one.message.tag for one in part}
        self.pending.stored(batch, len(part), self.acknowledged.append)
        self._drop_if_done(batch)

    def let_go(self, batch: Batch) -> None:
        self.pending.let_go(batch, len(batch.messages))
        self._drop_if_done(batch)

    def _drop_if_done(self, batch: Batch) -> None:
        if not batch.messages:
            self.in_hand.remove(batch)

    def assert_only_what_is_stored_is_acknowledged(self) -> None:
        assert self.acknowledged == sorted(set(self.acknowledged)), "each tag once, and they grow"
        if self.acknowledged:
            assert self.stored >= set(range(1, self.acknowledged[-1] + 1))


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "store"]), st.integers(0, IN_HAND - 1), st.integers(1, 6)),
    max_size=40,
)


@given(STEPS)
def test_what_is_acknowledged_is_stored_and_in_the_end_all_of_it_is(
    steps: list[tuple[str, int, int]],
) -> None:
    channel = Channel()
    channel.receive(30)
    for step, which, count in steps:
        if step == "take" and len(channel.in_hand) < IN_HAND:
            channel.take(count)
        elif which < len(channel.in_hand):
            channel.store(channel.in_hand[which], count)
        channel.assert_only_what_is_stored_is_acknowledged()
    while channel.in_hand:
        channel.store(channel.in_hand[-1], 30)
    channel.assert_only_what_is_stored_is_acknowledged()
    assert len(channel.stored) == (channel.acknowledged or [0])[-1]


def test_an_older_batch_holds_back_the_acknowledgement_of_a_younger_one() -> None:
    channel = Channel()
    channel.receive(6)
    for _ in range(3):
        channel.take(2)
    oldest, middle, youngest = channel.in_hand
    channel.store(youngest, 2)
    channel.store(middle, 1)
    assert channel.acknowledged == []
    channel.store(oldest, 1)
    assert channel.acknowledged == [1]
    channel.store(oldest, 1)
    assert channel.acknowledged == [1, 3]
    channel.store(middle, 1)
    assert channel.acknowledged == [1, 3, 6]


def test_nothing_is_acknowledged_once_a_batch_was_left_to_the_broker() -> None:
    channel = Channel()
    channel.receive(4)
    channel.take(2)
    channel.take(2)
    oldest, youngest = channel.in_hand
    channel.let_go(oldest)
    channel.store(youngest, 2)
    assert channel.acknowledged == []
    assert channel.pending.settled()


def test_a_batch_waits_for_its_turn() -> None:
    channel, found = Channel(), []
    channel.receive(4)
    channel.take(2)
    channel.take(2)
    oldest, youngest = channel.in_hand
    turns = channel.pending.turns
    assert turns.wait(oldest, 0)
    assert not turns.wait(youngest, 0)
    thread = threading.Thread(target=lambda: found.append(turns.wait(youngest, 20)))
    thread.start()
    channel.store(oldest, 1)
    assert not turns.wait(youngest, 0)
    channel.store(oldest, 1)
    thread.join(5)
    assert found == [True]


def test_only_a_batch_with_an_identity_of_an_older_one_shares() -> None:
    pending = Pending()
    for tag, identity in enumerate(["a", "b", "c", "a", "d", "c"], start=1):
        pending.add(judged(b"{", identity, tag=tag))  # unfit: what counts is the identity
    shares = []
    for _ in range(3):
        batch = pending.take(2)
        assert batch
        shares.append(batch.shares)
    assert shares == [False, True, True]
