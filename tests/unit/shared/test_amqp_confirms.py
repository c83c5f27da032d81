"""What the broker says of messages on their way, in whatever portions it says it."""

import pytest

from shared.amqp.confirms import InFlight


def on_their_way(*ids: str) -> InFlight[str]:
    """Return messages that were published in this order; each is its own id in capitals."""
    made: InFlight[str] = InFlight()
    for message_id in ids:
        made.add(message_id, message_id.upper())
    return made


def test_each_is_decided_once_by_its_number_or_with_all_up_to_it() -> None:
    messages = on_their_way("a", "b", "c", "d")

    assert messages.decided(2, multiple=False, taken=True) == [("B", "confirmed")]
    assert messages.decided(2, multiple=False, taken=True) == []
    assert messages.messages() == ["A", "C", "D"]
    assert messages.decided(3, multiple=True, taken=False) == [("A", "refused"), ("C", "refused")]
    assert len(messages) == 1
    messages.add("e", "E")
    assert messages.decided(5, multiple=True, taken=True) == [
        ("D", "confirmed"),
        ("E", "confirmed"),
    ]
    assert not messages


@pytest.mark.parametrize("multiple", [True, False])
def test_what_came_back_is_unroutable_though_it_is_confirmed(*, multiple: bool) -> None:
    messages = on_their_way("a", "b")
    messages.on_return("a")

    decided = messages.decided(1, multiple=multiple, taken=True)
    decided += messages.decided(2, multiple=multiple, taken=True)

    assert decided == [("A", "unroutable"), ("B", "confirmed")]
    messages.add("a", "A")
    assert messages.decided(3, multiple=False, taken=True) == [("A", "confirmed")]


def test_of_two_with_one_id_none_passes_for_taken_where_one_came_back() -> None:
    messages = on_their_way("a", "a")
    messages.on_return("a")

    decided = messages.decided(2, multiple=True, taken=True)

    assert decided == [("A", "unroutable"), ("A", "unroutable")]


def test_what_is_forgotten_is_decided_no_more_and_says_nothing_of_what_comes_later() -> None:
    messages = on_their_way("a", "b")
    messages.on_return("a")

    assert messages.forget() == ["A", "B"]
    messages.on_return("b")
    messages.add("a", "A")
    messages.add("b", "B")

    assert messages.decided(2, multiple=True, taken=True) == []
    assert messages.decided(4, multiple=True, taken=True) == [
        ("A", "confirmed"),
        ("B", "confirmed"),
    ]
