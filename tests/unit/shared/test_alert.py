"""An alert is read exactly, and refused where it could not be decided."""

from typing import Any

import pytest

from shared import alert
from shared.alert import Alert
from shared.unfit import Unfit
from tests.support.alert_records import BELOW, HISTORY_S

SILENT = {"provider_id": 1, "condition": "silent", "for_seconds": 60}


def reason(**fields: Any) -> str:
    with pytest.raises(Unfit) as caught:
        alert.read(fields, HISTORY_S)
    assert caught.value.error
    return caught.value.reason


def test_a_threshold_is_an_integer_or_its_digits_however_many_it_has() -> None:
    assert alert.read(BELOW, HISTORY_S) == Alert(1, "below", 1000, None)
    assert alert.read(BELOW | {"threshold": -7}, HISTORY_S).threshold == -7
    assert alert.read(BELOW | {"threshold": "-7"}, HISTORY_S).threshold == -7
    assert alert.read(BELOW | {"threshold": "9" * 38}, HISTORY_S).threshold == 10**38 - 1
    assert alert.read(BELOW | {"threshold": 0}, HISTORY_S).threshold == 0


def test_without_a_provider_it_is_of_each_but_only_if_it_says_so() -> None:
    assert alert.read(BELOW | {"provider_id": None}, HISTORY_S).provider_id is None
    assert reason(condition="below", threshold="1") == "missing_field"


def test_silent_says_for_how_long_and_needs_no_threshold() -> None:
    assert alert.read(SILENT, HISTORY_S) == Alert(1, "silent", None, 60)
    assert alert.read(SILENT | {"threshold": "5"}, HISTORY_S).threshold is None
    assert alert.read(SILENT | {"for_seconds": HISTORY_S - 1}, HISTORY_S).for_seconds


@pytest.mark.parametrize(
    ("why", "fields"),
    [
        ("missing_field", {"provider_id": 1, "threshold": "1"}),
        ("missing_field", {"provider_id": 1, "condition": "below"}),
        ("missing_field", {"provider_id": 1, "condition": "silent"}),
        ("wrong_type", BELOW | {"provider_id": "1"}),
        ("wrong_type", BELOW | {"provider_id": 1.0}),
        ("wrong_type", BELOW | {"provider_id": True}),
        ("out_of_range", BELOW | {"provider_id": 2**63}),
        ("wrong_type", BELOW | {"condition": None}),
        ("invalid_value", BELOW | {"condition": "under"}),
        ("invalid_value", BELOW | {"condition": "Below"}),
        ("wrong_type", BELOW | {"threshold": 6.0}),
        ("wrong_type", BELOW | {"threshold": None}),
        ("wrong_type", BELOW | {"threshold": True}),
        ("wrong_type", BELOW | {"threshold": [1]}),
        ("invalid_value", BELOW | {"threshold": "6.00"}),
        ("invalid_value", BELOW | {"threshold": ""}),
        ("invalid_value", BELOW | {"threshold": "+6"}),
        ("invalid_value", BELOW | {"threshold": " 6"}),
        ("invalid_value", BELOW | {"threshold": "6\n"}),
        ("invalid_value", BELOW | {"threshold": "٦"}),
        ("out_of_range", BELOW | {"threshold": "9" * 39}),
        ("out_of_range", BELOW | {"threshold": 10**39}),
        ("out_of_range", BELOW | {"condition": "change", "threshold": 0}),
        ("out_of_range", BELOW | {"condition": "change", "threshold": "-5"}),
        ("invalid_value", BELOW | {"for_seconds": 60}),
        ("wrong_type", SILENT | {"for_seconds": "60"}),
        ("wrong_type", SILENT | {"for_seconds": 60.5}),
        ("out_of_range", SILENT | {"for_seconds": 0}),
        ("out_of_range", SILENT | {"for_seconds": HISTORY_S}),
    ],
)
def test_what_could_not_be_decided_is_unfit(why: str, fields: dict[str, Any]) -> None:
    assert reason(**fields) == why
