"""What a request by message says, item by item, and when two of them ask for the same."""

import json

import pytest

from shared import request_message
from shared.request_message import ITEMS_MAX, Request
from shared.unfit import Unfit


def request_of(*items: object, key: str = "K", by: str = "me") -> Request:
    return request_message.read(json.dumps({"request": key, "by": by, "items": items}).encode())


def of_bytes(items: bytes) -> Request:
    return request_message.read(b'{"request": "K", "by": "me", "items": %s}' % items)


def reason_of(body: bytes) -> str:
    with pytest.raises(Unfit) as refused:
        request_message.read(body)
    return refused.value.reason


def test_items_are_counted_from_0_and_keep_their_bytes_and_their_own_identities() -> None:
    found = of_bytes(b'[{"id":1,"value":600}, {"value": -5, "id": 2, "message_id": "p-1"} ]')

    assert [tuple(one) for one in found.items] == [
        (b'{"id":1,"value":600}', "K:0", 1, 600),
        (b'{"value": -5, "id": 2, "message_id": "p-1"}', "p-1", 2, -5),
    ]
    assert (found.key, found.by, found.kind) == ("K", "me", "transactions")


@pytest.mark.parametrize(
    "item",
    [
        b"5", b'"x"', b"{}", b'{"id": 1, "value": 6.00}', b'{"id": 1, "id": 2, "value": 3}',
        b'{"id": 1, "value": 99999999999999999999}', b'"\xff"', b"[" * 600 + b"]" * 600,
    ],
)  # fmt: skip
def test_an_unfit_item_is_an_item_of_which_no_row_can_come(item: bytes) -> None:
    found = of_bytes(b'[{"id": 1, "value": 2}, %s]' % item)

    assert found.items[1] == (item, "K:1", None, None)


def test_an_unfit_item_keeps_its_own_identity() -> None:
    found = request_of({"id": "x", "value": 1, "message_id": 4711})

    assert found.items[0].identity == "4711"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"\xff", "not_utf8"),
        (b"[]", "not_object"),
        (b'{"request": "K", "by": "me"}', "missing_field"),
        (b'{"by": "me", "items": [{"id": 1, "value": 2}]}', "missing_field"),
        (b'{"request": "K", "request": "L", "items": [{"id": 1, "value": 2}]}', "duplicate_key"),
        (b'{"request": "K", "items": [], "items": [{"id": 1, "value": 2}]}', "duplicate_key"),
        (b'{"request": "K", "items": {"id": 1, "value": 2}}', "wrong_type"),
        (b'{"request": 7, "items": [{"id": 1, "value": 2}]}', "wrong_type"),
        (b'{"request": "K", "by": 7, "items": [{"id": 1, "value": 2}]}', "wrong_type"),
        (b'{"request": "a/b", "items": [{"id": 1, "value": 2}]}', "invalid_value"),
        (b'{"request": "..", "items": [{"id": 1, "value": 2}]}', "invalid_value"),
        (b'{"request": "K", "items": []}', "invalid_value"),
        (b'{"request": "K", "items": [1, 2}', "not_json"),
        (b'{"request": "K", "items": [%s]}' % b",".join([b"1"] * (ITEMS_MAX + 1)), "too_many"),
        (b'{"request": "K", "items": ["%s"]}' % (b"x" * 9 * 2**20), "too_large"),
        (b'{"request": "K", "items": [{"id": 1, "value": 2, "message_id": true}]}', "bad_identity"),
        (b'{"request": "K", "ask": "weather"}', "invalid_value"),
        (b'{"request": "K", "ask": "balances", "items": []}', "invalid_value"),
    ],
    ids=lambda found: found if isinstance(found, str) else "",
)
def test_what_cannot_be_read_as_a_request_says_why(body: bytes, reason: str) -> None:
    assert reason_of(body) == reason


def test_one_identity_twice_in_a_request_is_refused_also_beside_one_that_we_make() -> None:
    twice = {"id": 1, "value": 2, "message_id": "p"}
    ours = {"id": 1, "value": 2, "message_id": "K:1"}
    for items in ([twice, twice], [ours, {"id": 1, "value": 3}]):
        body = json.dumps({"request": "K", "items": items}).encode()
        assert reason_of(body) == "duplicate_identity"


def test_the_same_items_written_otherwise_and_by_another_are_the_same_request() -> None:
    one = request_of({"id": 1, "value": 600}, {"id": "x", "value": [2, 1]}, by="me")
    same = of_bytes(b'[{"value":600 ,"note":"a","id":1},{"value":[2,1],"id":"x"}]')

    assert one.digest == same.digest
    assert (
        request_message.digest([(1, 600, None, None)]) == request_of({"id": 1, "value": 600}).digest
    )


@pytest.mark.parametrize(
    "other",
    [
        b'[{"id": 1, "value": 601}]',
        b'[{"id": 2, "value": 600}]',
        b'[{"id": 1, "value": 600, "message_id": "p"}]',
        b'[{"id": 1, "value": 600}, {"id": 1, "value": 600}]',
        b'[{"id": "1", "value": 600}]',
        b'[{"id": 1, "value": 600.0}]',
    ],
)
def test_other_items_are_another_request(other: bytes) -> None:
    assert of_bytes(other).digest != request_of({"id": 1, "value": 600}).digest


def test_a_question_has_its_fields_and_differs_from_another_one() -> None:
    def asked(**fields: object) -> Request:
        return request_message.read(json.dumps({"request": "K", **fields}).encode())

    found = asked(ask="statement", provider="1_Visa")

    assert (found.kind, found.question["provider"], found.items) == ("statement", "1_Visa", ())
    assert found.digest == asked(provider="1_Visa", ask="statement").digest
    assert found.digest != asked(ask="statement", provider="2_Visa").digest


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("replies.billing", True),
        ("amq.gen-JzTY20BRgKO", True),
        ("amq.rabbitmq.reply-to.g1h2AA", True),
        ("syncer.ticks", False),
        ("incoming_transactions", False),
        ("my.replies.x", False),
        ("", False),
    ],
)
def test_replies_go_to_reply_queues_only(name: str, allowed: bool) -> None:  # noqa: FBT001
    assert request_message.is_reply_queue(name) == allowed
