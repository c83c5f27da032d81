"""What a message, an answer and a silence mean."""

import json
import struct

import pytest

from services.observer import core
from services.observer.core import Answer, Flow, Sighting
from shared.amqp.properties import Properties
from shared.unfit import Unfit

NONE = Properties(b"\0\0")
NAMES = [f"sightings.retry.{delay_ms}" for delay_ms in (1000, 2000, 4000, 8000, 16_000)]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\xff", "not_utf8"),
        (b"{", "not_json"),
        (b"[7]", "not_object"),
        (b'{"object_id": 7, "object_id": 8}', "duplicate_key"),
        (b"{}", "missing_field"),
        (b'{"object_id": "7"}', "wrong_type"),
        (b'{"object_id": 7.0}', "wrong_type"),
        (b'{"object_id": true}', "wrong_type"),
        (b'{"object_id": 9223372036854775808}', "out_of_range"),
        (json.dumps({"object_id": 7, "more": "x" * 65_536}).encode(), "too_large"),
    ],
)
def test_what_is_no_sighting_has_its_reason(body: bytes, reason: str) -> None:
    with pytest.raises(Unfit) as raised:
        core.object_id(body)
    assert raised.value.reason == reason


def test_a_sighting_names_an_object_and_may_say_more() -> None:
    assert core.object_id(b'{"object_id": -7, "by": "somebody"}') == -7
    assert core.object_id(core.encode(7)) == 7


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (200, b'{"id": 7, "online": true, "name": "x"}', Answer("seen")),
        (200, b'{"id": 7, "online": false}', Answer("away")),
        (200, b'{"id": 8, "online": true}', Answer("error", "the answer is about another object")),
        (200, b'{"online": true}', Answer("error", "the answer is about another object")),
        (200, b'{"id": 7, "online": 1}', Answer("error", "the answer has no boolean online")),
        (200, b'{"id": 7}', Answer("error", "the answer has no boolean online")),
        (200, b"[]", Answer("error", "the answer: JSON, but an array")),
        (404, b"", Answer("error", "status 404")),
        (500, b"", Answer("error", "status 500")),
        (302, b"", Answer("error", "status 302")),
        (503, b"", Answer("silence", "status 503")),
        (429, b"", Answer("silence", "status 429")),
    ],
)
def test_an_answer_is_seen_away_or_of_no_use(status: int, body: bytes, answer: Answer) -> None:
    assert core.interpret(status, body, 7) == answer


def test_one_is_no_object_called_true() -> None:
    assert core.interpret(200, b'{"id": true, "online": true}', 1).outcome == "error"


def with_header(name: bytes, value: bytes) -> Properties:
    table = bytes((len(name),)) + name + b"S" + struct.pack(">I", len(value)) + value
    return Properties(struct.pack(">HI", 1 << 13, len(table)) + table)


def test_each_retry_waits_twice_as_long_and_the_fifth_is_the_last() -> None:
    assert core.next_queue(NONE) == NAMES[0]
    for before, after in zip(NAMES, [*NAMES[1:], None], strict=True):
        assert core.next_queue(with_header(b"x-first-death-queue", before.encode())) == after


def test_a_message_that_died_elsewhere_was_never_tried() -> None:
    assert core.next_queue(with_header(b"x-first-death-queue", b"elsewhere")) == NAMES[0]
    assert core.next_queue(Properties(b"\x20\0")) == NAMES[0]  # garbled


def sighting(object_id: int) -> Sighting:
    return Sighting(object_id, object_id, NONE, b"")


def flow(most: int, *objects: int) -> Flow:
    made = Flow(most)
    for one in objects:
        made.add(sighting(one))
    return made


def numbers(sightings: list[Sighting]) -> list[int]:
    return [one.object_id for one in sightings]


def asked_again(made: Flow) -> int | None:
    return made.down


def held(found: list[tuple[Sighting, str]]) -> list[int]:
    return [one.object_id for one, _ in found]


def test_no_more_lookups_begin_than_are_allowed_at_a_time() -> None:
    made = flow(2, 1, 2, 3)
    assert numbers(made.begin()) == [1, 2]
    assert made.begin() == []
    assert made.answered() == []
    assert numbers(made.begin()) == [3]


def test_who_gets_no_answer_where_others_do_is_to_blame_himself() -> None:
    made = flow(3, 1, 2, 3, 4)
    made.begin()
    made.unanswered(sighting(1), "no answer")
    assert made.begin() == []  # until it is clear
    assert not made.in_doubt
    assert made.answered() == [(sighting(1), "no answer")]
    assert numbers(made.begin()) == [4]
    assert asked_again(made) is None


def test_where_all_are_silent_the_front_decides_about_few() -> None:
    made = flow(3, 1, 2, 3)
    for one in made.begin():
        assert not made.in_doubt
        made.unanswered(one, "no answer")
    assert made.in_doubt
    assert held(made.decide(front_answers=True)) == [1, 2, 3]
    assert asked_again(made) is None


@pytest.mark.parametrize(("objects", "front_answers"), [(1, False), (core.FEW, True)])
def test_an_api_that_answers_nobody_is_down_until_it_answers(
    objects: int, *, front_answers: bool
) -> None:
    made = flow(100, *range(objects), 99)
    for one in made.begin():
        made.unanswered(one, "no answer")
    assert made.decide(front_answers=front_answers) == []
    assert asked_again(made) == 99

    made.forget()
    made.add(sighting(7))
    assert made.begin() == []
    made.resume()
    assert asked_again(made) is None
    assert numbers(made.begin()) == [7]


def test_one_object_that_is_sent_often_is_one_object() -> None:
    made = flow(100, *[7] * 20)
    for one in made.begin():
        made.unanswered(one, "no answer")
    assert held(made.decide(front_answers=True)) == [7] * 20


def test_after_an_outage_lookups_begin_gently_and_grow_with_each_answer() -> None:
    made = flow(100, 1)
    made.unanswered(made.begin()[0], "no answer")
    made.decide(front_answers=False)
    made.resume()
    for one in range(300):
        made.add(sighting(one))
    assert len(made.begin()) == 10
    for _ in range(10):
        made.answered()
    assert len(made.begin()) == 20
    for _ in range(120):
        made.in_flight += 1
        made.answered()
    made.begin()
    assert made.in_flight == 100
