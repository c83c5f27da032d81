"""What is posted becomes one message, whole or not at all, and is answered after its confirm."""

import uuid
from typing import Any

import pytest

from tests.support import http_gateway
from tests.support.eventually import eventually
from tests.support.http_gateway import READER, WRITER, Gateway, Queues, problem

FIT = {"id": 1, "value": 600}


@pytest.mark.parametrize(
    ("media_type", "body", "items"),
    [
        ("application/json", '{"id": 1, "value": 600}', [FIT]),
        ("application/json; charset=UTF-8", '[{"id": 1, "value": "600"}]', [FIT]),
        ("application/x-ndjson", '{"id": 1, "value": 600}\n{"id": 2, "value": -1}\n',
         [FIT, {"id": 2, "value": -1}]),
        ("text/csv", "id,value,message_id\n1,600,a\n", [{**FIT, "message_id": "a"}]),
    ],
)  # fmt: skip
def test_a_request_is_one_message_with_its_items_and_who_sent_it(
    gateway: Gateway, queues: Queues, media_type: str, body: str, items: list[dict[str, Any]]
) -> None:
    key = f"order-{uuid.uuid4().hex}"
    answer = gateway.post(body, media_type, Idempotency_Key=f'"{key}"')

    assert answer.status_code == 202
    assert answer.json() == {"request": key, "items": len(items)}
    assert answer.headers["Location"] == f"/v1/requests/{key}"
    assert answer.headers["Idempotency-Key"] == key
    taken = queues.take()
    assert taken
    message, properties = taken
    assert message == {"request": key, "by": "shop", "items": items}
    assert (properties.message_id, properties.delivery_mode) == (key, 2)
    assert (properties.content_type, properties.reply_to) == ("application/json", None)
    assert queues.take() is None


def test_without_a_key_one_is_made_that_grows_with_time(gateway: Gateway, queues: Queues) -> None:
    keys = [gateway.send(FIT).json()["request"] for _ in range(2)]

    assert uuid.UUID(keys[0]).version == 7
    assert keys[0] != keys[1]
    assert [one["request"] for one in queues.all()] == keys


def test_where_the_reply_goes_and_the_trace_are_handed_on(gateway: Gateway, queues: Queues) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = gateway.send(
        FIT,
        Reply_To="replies.shop",
        Correlation_Id="order 7",
        traceparent=trace,
        X_Request_Id="r-7",
    )

    assert (answer.status_code, answer.headers["X-Request-Id"]) == (202, "r-7")
    taken = queues.take()
    assert taken
    assert (taken[1].reply_to, taken[1].correlation_id) == ("replies.shop", "order 7")
    assert taken[1].headers == {"traceparent": trace}


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Idempotency_Key": ""}, "bad_key"),
        ({"Idempotency_Key": '""'}, "bad_key"),
        ({"Idempotency_Key": "a b"}, "bad_key"),
        ({"Idempotency_Key": "a/b"}, "bad_key"),
        ({"Idempotency_Key": "."}, "bad_key"),
        ({"Idempotency_Key": '".."'}, "bad_key"),
        ({"Idempotency_Key": "x" * 201}, "bad_key"),
        ({"Reply_To": "syncer.ticks"}, "bad_reply_to"),
        ({"Reply_To": "incoming_transactions"}, "bad_reply_to"),
        ({"Reply_To": "replies."}, "bad_reply_to"),
        ({"Reply_To": "replies." + "x" * 250}, "bad_reply_to"),
        ({"Reply_To": "amq.rabbitmq.reply-to"}, "bad_reply_to"),
        ({"Correlation_Id": "x" * 256}, "bad_correlation_id"),
        ({"Correlation_Id": "\xe9"}, "bad_correlation_id"),
    ],
)
def test_a_header_that_is_not_fit_is_400_and_nothing_is_published(
    gateway: Gateway, queues: Queues, headers: dict[str, str], reason: str
) -> None:
    given = {
        name.replace("_", "-").encode(): one.encode("latin-1") for name, one in headers.items()
    }
    answer = gateway.client.post("/v1/transactions", json=FIT, headers=given)

    assert problem(answer) == (400, reason)
    assert queues.take() is None


def test_a_header_that_comes_twice_is_400(gateway: Gateway, queues: Queues) -> None:
    headers = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = gateway.client.post("/v1/transactions", json=FIT, headers=headers)

    assert problem(answer) == (400, "bad_request")
    assert queues.take() is None


def test_one_unfit_item_refuses_all_and_is_named(gateway: Gateway, queues: Queues) -> None:
    answer = gateway.send(FIT, {"id": 1, "value": "6.00"}, {"id": 1})

    assert problem(answer) == (422, "unfit_items")
    assert answer.json()["errors_total"] == 2
    assert answer.json()["errors"] == [
        {
            "item": 1,
            "reason": "wrong_type",
            "error": "value is a string that is not a whole number",
        },
        {"item": 2, "reason": "missing_field", "error": "the field value is missing"},
    ]
    assert queues.take() is None


def test_an_identity_that_another_items_place_gives_is_taken(
    gateway: Gateway, queues: Queues
) -> None:
    answer = gateway.send(FIT, {**FIT, "message_id": "order-1:0"}, Idempotency_Key="order-1")

    assert problem(answer) == (422, "unfit_items")
    assert [one["item"] for one in answer.json()["errors"]] == [1]
    assert queues.take() is None


@pytest.mark.parametrize("path", ["/v1/transactions", "/callback", "/v1/alerts"])
@pytest.mark.parametrize(
    ("login", "found"),
    [
        ("", (401, "unauthorized")),
        ("Bearer an-unknown-token", (401, "unauthorized")),
        (f"Bearer {READER}", (403, "forbidden")),
    ],
)
def test_who_may_not_write_is_told_so_and_nothing_is_published(
    gateway: Gateway, queues: Queues, path: str, login: str, found: tuple[int, str]
) -> None:
    answer = gateway.client.post(path, json=FIT, headers={"Authorization": login})

    assert problem(answer) == found
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert [queues.take(queue) for queue in http_gateway.QUEUES] == [None] * 3


def test_no_token_and_no_body_shows_in_a_log(gateway: Gateway, queues: Queues) -> None:
    given = {"Authorization": "Bearer a-secret-guess", "X-Request-Id": "seen-by-nobody-else"}
    gateway.client.post("/v1/transactions", json=FIT, headers=given)
    gateway.send({"id": 1, "value": "4111-1111"}, X_Request_Id="of-a-card")
    eventually(lambda: "of-a-card" in gateway.program.logs())

    logs = gateway.program.logs()
    assert "seen-by-nobody-else" in logs
    for secret in (WRITER, READER, "a-secret-guess", "4111-1111"):
        assert secret not in logs


@pytest.mark.parametrize(
    ("trusted", "client"),
    [("", "127.0.0.1"), ("127.0.0.1", "203.0.113.7"), ("10.0.0.0/8", "127.0.0.1")],
)
def test_a_forwarded_address_is_believed_of_proxies_that_are_trusted_only(
    gateway_url: str, trusted: str, client: str
) -> None:
    with http_gateway.running(gateway_url, GATEWAY_TRUSTED_PROXIES=trusted) as gateway:
        gateway.client.get("/", headers={"X-Forwarded-For": "203.0.113.7", "X-Request-Id": "f-1"})
        eventually(lambda: '"f-1"' in gateway.program.logs())

        said = [one["client"] for one in gateway.program.lines() if one.get("request_id") == "f-1"]
        assert said == [client]


@pytest.mark.parametrize(
    ("method", "path", "found"),
    [
        ("GET", "/", (404, "not_found")),
        ("GET", "/v2", (404, "not_found")),
        ("PUT", "/v1/transactions", (405, "method_not_allowed")),
        ("DELETE", "/healthz", (405, "method_not_allowed")),
    ],
)
def test_what_the_framework_refuses_is_a_problem_document_too(
    gateway: Gateway, method: str, path: str, found: tuple[int, str]
) -> None:
    answer = gateway.client.request(method, path)

    assert problem(answer) == found
    assert answer.headers["X-Request-Id"]


def test_a_request_id_that_is_not_fit_for_a_log_is_not_taken(gateway: Gateway) -> None:
    answer = gateway.client.get("/", headers={"X-Request-Id": 'a"b'})

    assert uuid.UUID(answer.headers["X-Request-Id"]).version == 7


def test_what_is_accepted_and_refused_is_counted(gateway: Gateway, queues: Queues) -> None:
    refused = 'minutebook_gateway_refused_total{reason="unfit_items"}'
    before = gateway.program.metric("minutebook_gateway_items_total")
    before_refused = gateway.program.metric(refused)
    assert gateway.send(FIT, FIT, FIT).status_code == 202
    assert gateway.send({}).status_code == 422

    eventually(lambda: gateway.program.metric("minutebook_gateway_items_total") == before + 3)
    eventually(lambda: gateway.program.metric(refused) == before_refused + 1)
    assert "\nminutebook_gateway_items_total " in gateway.client.get("/metrics").text
