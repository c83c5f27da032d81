"""What is posted besides transactions: objects that were seen, and alerts."""

import json

import pytest

from tests.support.http_gateway import Gateway, Queues, problem


def test_the_observer_gets_one_message_for_each_object(gateway: Gateway, queues: Queues) -> None:
    answer = gateway.client.post("/callback", json={"object_ids": [7, 8, 7]})

    assert (answer.status_code, answer.json()) == (202, {"objects": 3})
    assert queues.all("sightings") == [{"object_id": 7}, {"object_id": 8}, {"object_id": 7}]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("{", (400, "not_json")),
        ("{}", (422, "unfit")),
        ('{"object_ids": 7}', (422, "unfit")),
        ('{"object_ids": []}', (422, "no_items")),
        ('{"object_ids": [7, "8"]}', (422, "unfit")),
        ('{"object_ids": [9223372036854775808]}', (422, "unfit")),
        (json.dumps({"object_ids": [1] * 10_001}), (413, "too_many_items")),
    ],
)
def test_a_callback_that_is_not_fit_is_refused_whole(
    gateway: Gateway, queues: Queues, body: str, found: tuple[int, str]
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = gateway.client.post("/callback", content=body, headers=headers)

    assert problem(answer) == found
    assert queues.take("sightings") is None


def test_an_alert_is_a_change_record_for_the_notifier(gateway: Gateway, queues: Queues) -> None:
    alert = {"provider_id": 1, "condition": "below", "threshold": "1000"}
    put = gateway.client.post("/v1/alerts", json={"source_id": "A", "version": 3, "alert": alert})
    gone = gateway.client.delete("/v1/alerts", params={"source_id": "A", "version": 4})

    named = {"source": "http", "source_id": "A"}
    assert [(one.status_code, one.json()) for one in (put, gone)] == [(202, named)] * 2
    assert queues.all("alerts") == [
        {"operation": "MODIFIED", **named, "version": 3, "alert": alert},
        {"operation": "REMOVED", **named, "version": 4},
    ]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("[]", (400, "not_json")),
        ("{}", (422, "unfit")),
        ('{"alert": {"provider_id": 1, "condition": "under"}}', (422, "unfit")),
        ('{"alert": {"provider_id": 1, "condition": "below", "threshold": 6.5}}', (422, "unfit")),
        ('{"source_id": "", "alert": {"provider_id": 1, "condition": "below", "threshold": 6}}',
         (422, "unfit")),
    ],
)  # fmt: skip
def test_an_alert_that_the_notifier_would_refuse_is_refused_at_once(
    gateway: Gateway, queues: Queues, body: str, found: tuple[int, str]
) -> None:
    headers = {"Content-Type": "application/json"}

    assert problem(gateway.client.post("/v1/alerts", content=body, headers=headers)) == found
    assert queues.take("alerts") is None
