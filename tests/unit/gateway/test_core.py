"""A request's body becomes items, or is refused whole: in each of the formats."""

import json
import tracemalloc
from typing import Any

import pytest

from services.gateway import core
from services.gateway.core import ERRORS_MAX, Item
from services.gateway.problems import Problem
from shared.transaction_body import Limits

LIMITS = Limits(65_536, provider_id_max=2**31 - 1)
ITEMS_MAX = 10
JSON, NDJSON, CSV = core.READERS


def read(media_type: str, body: bytes | str, items_max: int = ITEMS_MAX) -> list[Item]:
    given = body.encode() if isinstance(body, str) else body
    return list(core.READERS[media_type](given, LIMITS, items_max))


def refused(media_type: str, body: bytes | str, items_max: int = ITEMS_MAX) -> Problem:
    with pytest.raises(Problem) as caught:
        read(media_type, body, items_max)
    return caught.value


def reasons(problem: Problem) -> list[tuple[int, str]]:
    assert (problem.status, problem.reason) == (422, "unfit_items")
    return [(one["item"], one["reason"]) for one in problem.more["errors"]]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, '{"id": 1, "value": 600}'),
        (JSON, ' [{"id": 1, "value": 600}] '),
        (JSON, '{"id": 1, "value": "600"}'),
        (JSON, '{"id": 1, "value": "00600", "currency": "EUR"}'),
        (JSON, '{"id": 1, "value": 600, "message_id": null}'),
        (NDJSON, '\n{"id": 1, "value": 600}\r\n\n'),
        (CSV, "id,value\n1,600\n"),
        (CSV, "1,600"),
        (CSV, "\ufeffvalue,id\r\n600,1\r\n\r\n"),
        (CSV, 'id,value,message_id\n"1"," 600 ",\n'),
    ],
)
def test_one_transaction_is_the_same_in_each_format(media_type: str, body: str) -> None:
    assert read(media_type, body) == [Item(1, 600)]


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        (JSON, '[{"id": 1, "value": -600, "message_id": "a"}, {"id": 2, "value": "-1"}]'),
        (NDJSON, '{"id": 1, "value": -600, "message_id": "a"}\n\n{"id": 2, "value": "-1"}'),
        (CSV, "id,value,message_id\n1,-600,a\n\n2,-1,\n"),
        (CSV, "id,value,message_id\n1,-600,a\n2,-1\n"),
    ],
)
def test_several_keep_their_order_and_identities(media_type: str, body: str) -> None:
    assert read(media_type, body) == [Item(1, -600, "a"), Item(2, -1)]


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 2**53 + 1])
def test_amounts_are_exact_as_numbers_and_as_text(value: int) -> None:
    assert read(JSON, f'[{{"id": 1, "value": {value}}}]') == [Item(1, value)]
    assert read(JSON, f'{{"id": 1, "value": "{value}"}}') == [Item(1, value)]
    assert read(CSV, f"1,{value}") == [Item(1, value)]


@pytest.mark.parametrize(
    ("media_type", "body", "reason"),
    [
        (JSON, "", "not_json"),
        (JSON, "[", "not_json"),
        (JSON, '{"id": 1, "value": 6', "not_json"),
        (JSON, '[{"id": 1, "value": 6},]', "not_json"),
        (JSON, "[" * 100_000, "not_json"),
        (JSON, "[" * 5_000 + "]" * 5_000, "not_json"),
        (JSON, b'{"id": 1, "value": 6, "x": "\xff"}', "not_utf8"),
        (CSV, b"id,value\n1,\xff\n", "not_utf8"),
        (CSV, 'id,value\n1,"6\n', "not_csv"),
        (CSV, "provider,amount\n1,6\n", "bad_header"),
        (CSV, "id,value,currency\n1,6,EUR\n", "bad_header"),
        (CSV, "id,id,value\n1,1,6\n", "bad_header"),
    ],
)
def test_what_cannot_be_read_at_all_is_400(media_type: str, body: bytes | str, reason: str) -> None:
    problem = refused(media_type, body)

    assert (problem.status, problem.reason) == (400, reason)


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("5", "not_object"),
        ("[[]]", "not_object"),
        ('{"id": 1}', "missing_field"),
        ('{"id": 1, "value": 6.0}', "wrong_type"),
        ('{"id": 1, "value": "6.00"}', "wrong_type"),
        ('{"id": 1, "value": "٦"}', "wrong_type"),
        ('{"id": 1, "value": ""}', "wrong_type"),
        ('{"id": 1, "value": true}', "wrong_type"),
        ('{"id": "1", "value": 6}', "wrong_type"),
        ('{"id": 1, "value": 1e400}', "wrong_type"),
        ('{"id": 1e400, "value": "6"}', "wrong_type"),
        ('{"id": true, "value": "6"}', "wrong_type"),
        ('{"id": 1, "value": 9223372036854775808}', "out_of_range"),
        ('{"id": 1, "value": "9223372036854775808"}', "out_of_range"),
        ('{"id": 1, "value": "' + "9" * 5000 + '"}', "out_of_range"),
        ('{"id": 2147483648, "value": 6}', "out_of_range"),
        ('{"id": 1, "value": 6, "value": 7}', "duplicate_key"),
        ('{"id": 1, "value": 6, "message_id": {}}', "bad_identity"),
        ('{"id": 1, "value": 6, "message_id": "' + "x" * 256 + '"}', "bad_identity"),
        ('{"id": 1, "value": 6, "message_id": "a\\u0000"}', "bad_identity"),
        ('{"id": 100000000000000000000000, "value": "6"}', "out_of_range"),
    ],
)
def test_an_unfit_item_refuses_all_and_is_named_with_its_reason(item: str, reason: str) -> None:
    fit = '{"id": 1, "value": 6}'

    assert reasons(refused(JSON, f"[{fit}, {item}, {fit}]")) == [(1, reason)]
    assert reasons(refused(NDJSON, f"{fit}\n\n{item}\n{fit}")) == [(1, reason)]
    if not item.startswith("["):
        assert reasons(refused(JSON, item)) == [(0, reason)]


def test_an_identity_that_is_no_utf8_is_refused() -> None:
    item = '{"id": 1, "value": 6, "message_id": "\\ud800"}'

    assert reasons(refused(JSON, item)) == reasons(refused(NDJSON, item)) == [(0, "bad_identity")]
    assert refused(JSON, f"[{item}]").reason == "not_json"


def test_a_line_or_an_element_that_is_no_json_or_no_utf8_is_an_unfit_item() -> None:
    assert reasons(refused(NDJSON, '{"id": 1, "value": 6}\n{"id":')) == [(1, "not_json")]
    assert reasons(refused(NDJSON, b'{"id": 1, "value": 6, "x": "\xff"}')) == [(0, "not_utf8")]
    assert reasons(refused(JSON, b'[{"id": 1, "value": 6, "x": "\xff"}]')) == [(0, "not_utf8")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1", "missing_field"),
        ("1,", "missing_field"),
        (",6", "missing_field"),
        ("1,6,a,b", "missing_field"),
        ("1,6.00", "wrong_type"),
        ("1,+6", "wrong_type"),
        ("1,0x6", "wrong_type"),
        ("Visa,6", "wrong_type"),
        ("1," + "9" * 5000, "out_of_range"),
        ("2147483648,6", "out_of_range"),
    ],
)
def test_an_unfit_row_refuses_all_and_is_counted_without_header_and_blank_lines(
    row: str, reason: str
) -> None:
    body = f"id,value,message_id\n\n1,6\n{row}\n"

    assert reasons(refused(CSV, body)) == [(1, reason)]


@pytest.mark.parametrize(
    ("identities", "taken_before"),
    [(["a", "a"], [1]), ([None, "K:0"], [1]), (["K:1", None], [1]), (["a", "b"], []), ([None], [])],
)
def test_an_identity_is_taken_once_in_a_request(
    identities: list[str | None], taken_before: list[int]
) -> None:
    items = [Item(1, 6, identity) for identity in identities]
    if not taken_before:
        core.check_identities("K", items)
        return
    with pytest.raises(Problem) as caught:
        core.check_identities("K", items)

    assert reasons(caught.value) == [(one, "duplicate_identity") for one in taken_before]


@pytest.mark.parametrize(
    ("media_type", "body"), [(JSON, "[]"), (NDJSON, "\n\n"), (CSV, "id,value\n")]
)
def test_a_request_without_items_is_refused(media_type: str, body: str) -> None:
    problem = refused(media_type, body)

    assert (problem.status, problem.reason) == (422, "no_items")


def test_as_many_items_as_are_allowed_are_taken_and_no_more() -> None:
    item: dict[str, Any] = {"id": 1, "value": 6}
    for media_type, separator in ((JSON, ","), (NDJSON, "\n")):
        text = separator.join([json.dumps(item)] * 11)
        many = f"[{text}]" if media_type == JSON else text
        assert refused(media_type, many).reason == "too_many_items"
        assert len(read(media_type, many, 11)) == 11
    assert refused(CSV, "1,6\n" * 11).status == 413
    assert len(read(CSV, "1,6\n" * 11, 11)) == 11


def test_an_array_of_numbers_takes_no_memory_to_speak_of() -> None:
    body = "[" + "0," * 1_000_000 + "0]"
    tracemalloc.start()
    try:
        assert refused(JSON, body).reason == "too_many_items"
        assert tracemalloc.get_traced_memory()[1] < 10 * len(body)
    finally:
        tracemalloc.stop()


def test_a_hundred_unfit_items_are_named_and_all_are_counted() -> None:
    problem = refused(NDJSON, "{}\n" * 150, 1000)

    assert len(problem.more["errors"]) == ERRORS_MAX
    assert problem.more["errors_total"] == 150


def test_no_problem_quotes_what_was_sent() -> None:
    secret = "4111111111111111"
    for body in (f'{{"id": "{secret}", "value": "{secret}x", "message_id": 1.5}}', f"[{secret}"):
        assert secret not in refused(JSON, body).body().decode()


def test_the_message_to_the_tracker_has_key_name_and_items_as_judged() -> None:
    items = read(
        JSON, '[{"value": "600", "id": 1, "x": 2}, {"id": 2, "value": 7, "message_id": "a"}]'
    )

    assert json.loads(core.encode("K", "shop", items)) == {
        "request": "K",
        "by": "shop",
        "items": [{"id": 1, "value": 600}, {"id": 2, "value": 7, "message_id": "a"}],
    }
