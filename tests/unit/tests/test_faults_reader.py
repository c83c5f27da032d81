"""What the outside reader makes of what it sees: each change is verified, and nothing twice."""

import threading

import docker
import pytest

from tests.faults.keydb_snapshots import Snapshot
from tests.faults.reader import Reader, State
from tests.support.stack import Stack

NAMES = ["1_Visa", "2_Mastercard", "3_Gone"]


@pytest.fixture
def reader() -> Reader:
    stack = Stack(docker.DockerClient("tcp://127.0.0.1:1", version="1.41"))
    return Reader(stack, NAMES, threading.Event())


def look(epoch: int, token: str, **values: str) -> Snapshot:
    held = {name.replace("x", ""): value for name, value in values.items()}
    return Snapshot([str(epoch), token], list(held), [held.get(name) for name in NAMES])


def states(reader: Reader) -> dict[tuple[int, str], list[dict[str, str]]]:
    return {mark: [one.values for one in seen] for mark, seen in reader.seen.states.items()}


def found(reader: Reader) -> list[str]:
    return [one.text for one in reader.seen.differences]


def test_what_stays_is_one_state_that_was_seen_from_the_first_look_to_the_last(
    reader: Reader,
) -> None:
    for _ in range(3):
        reader.see(look(1, "a", x1_Visa="100"))
    (state,) = reader.seen.states[1, "a"]
    assert state == State({"1_Visa": "100"}, state.first_s, state.last_s)
    assert state.last_s > state.first_s
    assert reader.seen.looks.reads == 3
    assert not found(reader)


def test_another_value_under_the_same_watermark_is_another_state(reader: Reader) -> None:
    for value in ("100", "100", "101", "100"):
        reader.see(look(1, "a", x1_Visa=value))
    assert states(reader) == {
        (1, "a"): [{"1_Visa": "100"}, {"1_Visa": "101"}, {"1_Visa": "100"}],
    }


def test_an_older_tick_after_a_newer_one_is_a_difference(reader: Reader) -> None:
    for epoch in (1, 2, 2, 1, 1, 2):
        reader.see(look(epoch, f"token {epoch}", x1_Visa=f"{epoch}"))
    assert found(reader) == ["(1, 'token 1') after (2, 'token 2')"]


def test_another_token_of_the_same_number_is_a_difference(reader: Reader) -> None:
    reader.see(look(1, "a", x1_Visa="1"))
    reader.see(look(1, "b", x1_Visa="1"))
    assert found(reader) == ["another token at (1, 'b') than (1, 'a')"]


def test_a_key_that_is_not_in_the_set_of_ours_is_a_difference_whenever_it_comes(
    reader: Reader,
) -> None:
    right = look(1, "a", x1_Visa="1")
    reader.see(right)
    reader.see(right._replace(keys=[]))
    reader.see(right)
    reader.see(right._replace(values=["1", None, "3"]))
    assert found(reader) == [
        "the set of our keys is another than the keys there: {'1_Visa'}",
        "the set of our keys is another than the keys there: {'3_Gone'}",
    ]


def test_a_watermark_that_vanished_is_a_difference(reader: Reader) -> None:
    reader.see(Snapshot([None, None], [], [None, None, None]))
    assert not found(reader)
    reader.see(look(1, "a", x1_Visa="1"))
    reader.see(Snapshot([None, None], [], [None, None, None]))
    assert found(reader) == ["no watermark, 0 keys, after (1, 'a')"]


def test_what_a_send_in_chunks_shows_between_them_is_no_state(reader: Reader) -> None:
    reader.see(look(1, "a", x1_Visa="1"))
    reader.see(look(1, "partial:x:1", x1_Visa="2"))
    reader.see(look(2, "b", x1_Visa="2"))
    assert list(reader.seen.states) == [(1, "a"), (2, "b")]
    assert not found(reader)
