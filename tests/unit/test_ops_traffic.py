"""What is typed or piped in becomes messages, line by line, or is held back with a reason."""

import base64
import json

import pytest

from ops.traffic.core import (
    Draft,
    Invalid,
    content_identity,
    delay_s,
    from_arguments,
    from_csv,
    from_lines,
    messages,
    random_identity,
)
from services.ingest.body import Limits
from shared.amqp.producer import Outgoing

LIMITS = Limits(100)


def test_arguments_are_pairs_or_whole_bodies() -> None:
    assert list(from_arguments(["1=600", "2=-50", '{"id": 3, "value": 1}'])) == [
        Draft(1, b'{"id":1,"value":600}'),
        Draft(2, b'{"id":2,"value":-50}'),
        Draft(3, b'{"id": 3, "value": 1}'),
    ]


@pytest.mark.parametrize("text", ["1", "1=", "=1", "one=1", "1=6.5"])
def test_an_argument_that_is_no_pair_is_said_to_be_none(text: str) -> None:
    (found,) = from_arguments([text])

    assert isinstance(found, Invalid)


def test_json_lines_are_sent_as_they_are_with_their_own_identity() -> None:
    lines = [b'{"id": 1, "value": 600}\n', b"\n", b' {"message_id": "m", "id": 2, "value": 1} ']

    assert list(from_lines(lines)) == [
        Draft(1, b'{"id": 1, "value": 600}'),
        Draft(3, b'{"message_id": "m", "id": 2, "value": 1}', "m"),
    ]


def test_an_exported_letter_is_sent_with_the_body_it_had() -> None:
    line = {"message_id": "m", "body_base64": base64.b64encode(b"\xff").decode(), "reason": "x"}

    assert list(from_lines([json.dumps(line).encode()])) == [Draft(1, b"\xff", "m")]
    (bad,) = from_lines([b'{"body_base64": "?"}'])
    assert isinstance(bad, Invalid)


def test_csv_needs_a_header_and_may_name_identities() -> None:
    assert list(from_csv(["value,id,message_id\n", "600,1,m\n", "-5,2,\n"])) == [
        Draft(2, b'{"id":1,"value":600}', "m"),
        Draft(3, b'{"id":2,"value":-5}'),
    ]
    assert [type(one) for one in from_csv(["1,600\n"])] == [Invalid]
    assert [type(one) for one in from_csv([])] == [Invalid]


def test_a_line_of_csv_without_numbers_does_not_hold_back_the_others() -> None:
    found = list(from_csv(["id,value\n", "1,x\n", "1\n", "2,7\n"]))

    assert [type(one) for one in found] == [Invalid, Invalid, Draft]
    assert [one.line for one in found] == [2, 3, 4]


def test_what_ingest_would_bury_is_held_back_unless_told_otherwise() -> None:
    drafts = [Draft(1, b'{"id": 1, "value": 600}', "m"), Draft(2, b"no", "n")]

    assert list(messages(drafts, random_identity, LIMITS)) == [
        Outgoing(b'{"id": 1, "value": 600}', "m"),
        Invalid(2, "not_json: not JSON: JSONDecodeError"),
    ]
    assert list(messages(drafts, random_identity, LIMITS, checked=False))[1] == Outgoing(b"no", "n")


def test_content_identities_are_the_same_for_the_same_file_and_differ_by_line() -> None:
    twice = [list(messages(from_arguments(["1=6", "1=6"]), content_identity, LIMITS))] * 2

    assert twice[0] == twice[1]
    first, second = (one.message_id for one in twice[0] if isinstance(one, Outgoing))
    assert first != second


def test_random_identities_are_never_the_same() -> None:
    assert random_identity(1, b"") != random_identity(1, b"")


def test_a_rate_is_kept_on_the_whole_and_none_waits_for_nothing() -> None:
    assert delay_s(10, 0.05, 100.0) == pytest.approx(0.05)
    assert delay_s(10, 5.0, 100.0) == 0.0
    assert delay_s(10**9, 0.0, None) == 0.0
