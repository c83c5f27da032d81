"""Between the two threads messages keep their order, and their bytes have a bound."""

import threading
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from services.ingest.backlog import BYTES_MAX
from services.ingest.core import Validated
from tests.support.messages import FakeChannel, validated

SMALL = validated(b"x")
HALF = validated(b"x" * (BYTES_MAX // 2))


def tags(messages: Sequence[Validated]) -> list[int]:
    return [message.delivery.tag for message in messages]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 5), st.booleans()), max_size=30))
def test_messages_are_stored_in_order_and_stay_the_oldest_until_they_are(
    steps: list[tuple[int, int, bool]],
) -> None:
    channel, received = FakeChannel(), 0
    stored: list[int] = []
    for comes, most, goes_well in steps:
        channel.receive(*(validated(b"", tag=received + n) for n in range(1, comes + 1)))
        received += comes
        batch, _ = channel.backlog.oldest(most)
        if batch and goes_well:
            channel.backlog.acknowledge(batch)
            stored += tags(batch)
        else:
            assert channel.backlog.oldest(most)[0] == batch, "what was refused is next"
        assert stored == list(range(1, len(stored) + 1))
        assert (channel.acknowledged or [0])[-1] == len(stored)
        assert channel.backlog.unacknowledged() == received - len(stored)


def test_what_was_refused_is_looked_at_again_with_what_came_since() -> None:
    channel = FakeChannel()
    channel.receive(validated(b"", tag=1))
    _, refused_since = channel.backlog.oldest(2)
    channel.receive(validated(b"", tag=2), validated(b"", tag=3))
    again, since = channel.backlog.oldest(2)
    assert (tags(again), since) == ([1, 2], refused_since)


def test_while_one_is_kept_those_behind_it_are_acknowledged_one_by_one() -> None:
    channel = FakeChannel()
    first, second, third, fourth = (validated(b"", tag=tag) for tag in range(1, 5))
    channel.receive(first, second, third)
    channel.backlog.acknowledge([first, second], [second], "refused")
    assert (channel.acknowledged, channel.alone) == ([], [1])
    channel.backlog.acknowledge([third])
    assert (channel.alone, channel.backlog.unacknowledged()) == ([1, 3], 1)
    channel.backlog.acknowledge_deferred([second])
    channel.backlog.deferred.note_attempt([second], [], 0.0)
    channel.receive(fourth)
    channel.backlog.acknowledge([fourth])
    assert (channel.acknowledged, channel.alone) == ([4], [1, 3, 2])
    assert channel.backlog.unacknowledged() == 0


def test_there_is_no_room_while_too_many_bytes_are_unacknowledged_until_they_are_stored() -> None:
    channel = FakeChannel()
    backlog = channel.backlog
    channel.receive(HALF, HALF)
    assert backlog.wait_for_room(0)
    channel.receive(SMALL)
    assert not backlog.wait_for_room(0)
    backlog.oldest(3)
    assert not backlog.wait_for_room(0)
    backlog.acknowledge([HALF], [HALF], "kept")
    assert not backlog.wait_for_room(0)
    backlog.acknowledge_deferred([HALF])
    assert backlog.wait_for_room(0)


def test_whoever_waits_for_room_goes_on_as_soon_as_there_is_some() -> None:
    channel, found = FakeChannel(), []
    channel.receive(HALF, HALF, HALF)
    thread = threading.Thread(target=lambda: found.append(channel.backlog.wait_for_room(20)))
    thread.start()
    channel.backlog.acknowledge([HALF, HALF])
    thread.join(30)
    assert found == [True]


def test_whoever_waits_for_messages_goes_on_as_soon_as_they_are_announced() -> None:
    channel, found = FakeChannel(), []
    thread = threading.Thread(target=lambda: found.append(channel.backlog.wait_for_any(20)))
    thread.start()
    channel.receive(HALF)
    thread.join(30)
    assert found == [1]
    assert channel.backlog.oldest(10)[0] == [HALF]


def test_waiting_ends_when_its_time_is_over() -> None:
    backlog = FakeChannel().backlog
    assert not backlog.wait_for_any(0)
    assert backlog.oldest(10)[0] == []


def test_of_a_channel_that_is_gone_nothing_is_unacknowledged_and_nothing_more_comes() -> None:
    channel = FakeChannel()
    channel.receive(SMALL)
    channel.backlog.close()
    channel.receive(SMALL)
    assert not channel.backlog.wait_for_any(0)
    assert (channel.backlog.unacknowledged(), channel.backlog.has_room()) == (0, True)


def test_the_age_of_a_batch_is_that_of_its_oldest_message() -> None:
    channel = FakeChannel()
    ages = []
    for messages in ([HALF, HALF], [HALF]):
        channel.receive(*messages)
    for _ in range(3):
        ages.append(channel.backlog.oldest(1)[1])
        channel.backlog.acknowledge([HALF])
    first, left_behind, later = ages
    assert 0 < first == left_behind < later
