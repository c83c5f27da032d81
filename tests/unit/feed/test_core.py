"""The events of a tick, without servers: ids, names and counts."""

import json
from typing import Any

import pytest

from services.feed.core import (
    QUIET_AFTER_S,
    QUIET_BEFORE_S,
    BalanceRow,
    ChangeRow,
    Events,
    Message,
    quiet_s,
)

CHANGE = ChangeRow(17, 4, 1, "600", "added", None, "payment-4711")


def body(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(message.body)
    assert (found["event"], found["id"]) == (message.name, message.id)
    return found


@pytest.mark.parametrize(
    ("row", "name", "source"),
    [
        (CHANGE, "transaction.added", 4),
        (CHANGE._replace(operation="modified"), "transaction.modified", 4),
        (CHANGE._replace(transaction_id=None), "provider.added", 1),
        (CHANGE._replace(transaction_id=None, operation="repaired"), "provider.repaired", 1),
    ],
)
def test_a_change_is_named_after_what_changed(row: ChangeRow, name: str, source: int) -> None:
    event = body(Events(12, "T", None).change(row))
    assert (event["event"], event["source_id"], event["id"]) == (name, source, "T:t:17")
    assert event["operation"] == row.operation.upper()
    assert event["tick"] is None


@pytest.mark.parametrize(
    ("row", "name", "operation"),
    [
        (BalanceRow(1, "1_Visa", "1900", "1_Visa", "1300"), "balance.changed", "MODIFIED"),
        (BalanceRow(1, "1_Visum", "1300", "1_Visa", "1300"), "balance.changed", "MODIFIED"),
        (BalanceRow(1, "1_Visa", "7"), "balance.changed", "ADDED"),
        (BalanceRow(1, "1_Visa", "7", None, "0"), "balance.changed", "ADDED"),
        (BalanceRow(1, None, "0", "1_Visa", "1300"), "balance.removed", "REMOVED"),
        (BalanceRow(1, None, "5", None, "0"), "balance.changed", "MODIFIED"),
    ],
)
def test_a_balance_says_whether_its_key_came_stayed_or_went(
    row: BalanceRow, name: str, operation: str
) -> None:
    event = body(Events(12, "T", None).balance(row))
    assert (event["event"], event["operation"], event["id"]) == (name, operation, "T:b:1")
    assert (event["previous"], event["previous_key"]) == (row.previous, row.previous_key)


def test_at_a_start_ids_name_the_start_and_nothing_is_previous() -> None:
    events = Events(12, "T", None, start="R")
    read = body(events.read(BalanceRow(1, "1_Visa", "1900")))
    assert read["id"] == "T:r:R:1"
    assert not {"previous", "previous_key"} & read.keys()
    closed = body(events.closed(None, "0"))
    assert (closed["id"], closed["anew"], closed["balances"]) == ("T:r:R:tick", True, 1)


def test_the_end_of_a_tick_counts_its_events_of_each_kind() -> None:
    events = Events(12, "T", None)
    for row in (CHANGE, CHANGE, CHANGE._replace(transaction_id=None)):
        events.change(row)
    events.balance(BalanceRow(1, "1_Visa", "1900", "1_Visa", "1300"))
    closed = body(events.closed("S:tick", "1800"))
    counts = {name: closed[name] for name in ("transactions", "providers", "balances", "amount")}
    assert counts == {"transactions": 2, "providers": 1, "balances": 1, "amount": "1800"}
    assert (closed["id"], closed["previous_id"], closed["anew"]) == ("T:tick", "S:tick", False)


@pytest.mark.parametrize("interval_s", [1, 60])
def test_it_is_quiet_from_a_little_before_each_boundary_to_a_little_after_it(
    interval_s: int,
) -> None:
    boundary = 7200.0
    whole_s = QUIET_BEFORE_S + QUIET_AFTER_S
    assert quiet_s(boundary - QUIET_BEFORE_S, interval_s) == pytest.approx(whole_s)
    assert quiet_s(boundary, interval_s) == pytest.approx(QUIET_AFTER_S)
    assert quiet_s(boundary + QUIET_AFTER_S + 0.001, interval_s) == 0
    assert quiet_s(boundary - QUIET_BEFORE_S - 0.001, interval_s) == 0
