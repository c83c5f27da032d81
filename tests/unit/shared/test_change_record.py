"""A change record is read strictly: what it does not say is not guessed."""

import json

import pytest

from shared import change_record
from shared.change_record import ChangeRecord
from shared.unfit import Unfit
from tests.support.alert_records import BELOW, UNFIT_RECORDS, record


def reason(body: bytes) -> str:
    with pytest.raises(Unfit) as caught:
        change_record.decode(body, "alert")
    assert caught.value.error
    return caught.value.reason


def test_a_record_says_what_happened_to_what_of_whom() -> None:
    found = change_record.decode(record("MODIFIED", version=3), "alert")

    assert found == ChangeRecord("MODIFIED", "users", "A", 3, BELOW)


def test_a_version_is_optional_and_fields_that_are_not_known_are_ignored() -> None:
    assert change_record.decode(record(note="x"), "alert").version is None
    assert change_record.decode(record(), "alert").version is None


def test_a_thing_that_was_removed_needs_no_content() -> None:
    assert change_record.decode(record("REMOVED", None), "alert").content == {}
    assert change_record.decode(record("REMOVED", "what it was"), "alert").content == {}


def test_a_source_may_number_what_it_knows() -> None:
    assert change_record.decode(record(source_id=7), "alert").source_id == "7"


def test_the_content_stands_under_the_name_of_its_kind() -> None:
    price = json.dumps(
        {"operation": "ADDED", "source": "s", "source_id": "1", "price": {"symbol": "X"}}
    ).encode()

    assert change_record.decode(price, "price").content == {"symbol": "X"}
    assert reason(price) == "missing_field"


@pytest.mark.parametrize(
    ("why", "body"), [(why, body) for why, bodies in UNFIT_RECORDS.items() for body in bodies]
)
def test_what_is_no_json_object_is_unfit_and_the_reason_says_why(why: str, body: bytes) -> None:
    assert reason(body) == why


@pytest.mark.parametrize("field", ["operation", "source", "source_id", "alert"])
def test_a_field_that_is_missing_is_named(field: str) -> None:
    fields = json.loads(record())
    del fields[field]

    assert reason(json.dumps(fields).encode()) == "missing_field"


@pytest.mark.parametrize(
    ("why", "body"),
    [
        ("wrong_type", record(1)),
        ("invalid_value", record("added")),
        ("invalid_value", record("DELETED")),
        ("wrong_type", record(source=["users"])),
        ("wrong_type", record(source=7)),
        ("out_of_range", record(source="")),
        ("out_of_range", record(source="é" * 128)),
        ("invalid_value", record(source="a\0b")),
        ("invalid_value", record(source="\ud800")),
        ("wrong_type", record(source_id=True)),
        ("wrong_type", record(source_id=7.0)),
        ("out_of_range", record(source_id=2**63)),
        ("wrong_type", record(version="3")),
        ("wrong_type", record(version=3.0)),
        ("wrong_type", record(version=True)),
        ("out_of_range", record(version=2**63)),
        ("out_of_range", record(version=10**40)),
        ("wrong_type", record(alert=[])),
        ("wrong_type", record(alert="below")),
    ],
)
def test_a_field_of_another_kind_is_unfit(why: str, body: bytes) -> None:
    assert reason(body) == why


def test_a_number_of_thousands_of_digits_is_out_of_range() -> None:
    body = record(version=3).replace(b": 3", b": " + b"9" * 5000)

    assert reason(body) == "out_of_range"
