"""The application without servers: what it says of itself, and how it answers when it cannot."""

import asyncio
import re
from typing import Any, get_args

import httpx
import pytest
import structlog
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.front import Front
from services.gateway.http_request import InHand
from services.gateway.problems import MEDIA_TYPE, Reason
from tools import api_page, openapi

TOKEN = "a-token-for-tests"
LOGIN = {"Authorization": f"Bearer {TOKEN}"}


def asked(method: str, path: str, headers: dict[str, str] = LOGIN, **given: Any) -> httpx.Response:
    """Return what the application answers; nothing it needs is there."""
    front = Front(_application(), InHand())

    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(front, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.request(method, path, headers=headers, **given)

    return asyncio.run(ask())


def _application() -> Any:
    application = openapi.application(f"test:{TOKEN}:read+write desk:a-token-to-write:write")

    def broken(_request: Request) -> Response:
        raise ZeroDivisionError("secret: 4111")

    application.add_api_route("/broken", broken)
    return application


def test_the_document_is_what_the_application_says() -> None:
    assert openapi.DOCUMENT.read_text(encoding="utf-8") == openapi.document(), "run `make schemas`"


def test_the_page_is_made_of_the_document_and_every_reason_has_a_meaning() -> None:
    assert openapi.PAGE.read_text(encoding="utf-8") == openapi.page(), "run `make schemas`"
    assert set(api_page.MEANINGS) == set(get_args(Reason))


def test_the_page_for_people_names_every_route_and_loads_nothing() -> None:
    answer = asked("GET", "/docs", {})

    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert all(f"{path}</h2>" in answer.text for path in openapi.application().openapi()["paths"])
    assert not re.search(r"<script|src=|url\(|https?://", answer.text)


def test_a_bug_is_a_problem_document_that_quotes_nothing_and_is_logged_with_the_request() -> None:
    with structlog.testing.capture_logs() as logs:
        answer = asked("GET", "/broken")

    assert (answer.status_code, answer.headers["Content-Type"]) == (500, MEDIA_TYPE)
    assert answer.json()["reason"] == "internal_error"
    assert "4111" not in answer.text
    bugs = [one["request_id"] for one in logs if one["event"] == "bug"]
    assert bugs == [answer.headers["X-Request-Id"]]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/balances?limit=0",
        "/v1/balances?limit=1001",
        "/v1/balances?limit=x",
        "/v1/balances?cursor=x",
        "/v1/balances?cursor=%C3%BC",
        "/v1/balances/Visa",
        "/v1/balances/99999999999999999999",
        "/v1/balances/1/history?step=0",
        "/v1/balances/1/history?step=1w",
        "/v1/balances/1/history?from=yesterday",
        "/v1/balances/1/history?from=2026-11-20T23:42:00",
        "/v1/balances/1/statement?to=2026-13-20T23:42:00Z",
        "/v1/balances/1/statement?to=0001-01-01T00:00:00%2B23:59",
        "/v1/alerts?provider=Visa",
        "/v1/alerts?source=%00",
        "/v1/notifications?alert=0",
        "/v1/transactions/a%00b",
    ],
)
def test_a_parameter_that_does_not_fit_is_422_before_postgres_is_asked(path: str) -> None:
    answer = asked("GET", path)

    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/balances", "/v1/balances/1_Visa", "/v1/balances/1/history", "/v1/balances/1/statement",
        "/v1/alerts", "/v1/notifications", "/v1/transactions/a/b", "/v1/ticks/stream",
    ],
)  # fmt: skip
def test_a_question_needs_a_token_that_reads(path: str) -> None:
    assert asked("GET", path, {}).status_code == 401
    answer = asked("GET", path, {"Authorization": "Bearer a-token-to-write"})
    assert (answer.status_code, answer.json()["reason"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("1_a%2Fb", "{provider}"),
        ("1_x%2Fhistory", "{provider}"),
        ("-1%5fx%2fstatement/history", "{provider}/history"),
        ("1_a%3Fb%23c%00/statement", "{provider}/statement"),
        ("1_x/history", "{provider}/history"),
        ("1/statement", "{provider}/statement"),
    ],
)
def test_a_providers_name_may_have_any_character(path: str, route: str) -> None:
    with structlog.testing.capture_logs() as logs:
        answer = asked("GET", f"/v1/balances/{path}")

    assert answer.json()["reason"] == "postgres_unavailable"
    assert [one["path"] for one in logs] == [f"/v1/balances/{route}"]


def test_a_method_that_a_path_has_not_is_405_with_all_that_it_has() -> None:
    answer = asked("PATCH", "/v1/alerts")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET, POST")


def test_without_the_broker_what_is_sent_is_503_and_may_be_sent_again() -> None:
    answer = asked("POST", "/v1/transactions", json={"id": 1, "value": 600})

    assert (answer.status_code, answer.json()["reason"]) == (503, "broker_unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def test_every_operation_says_what_it_is_refused_with_and_what_token_it_needs() -> None:
    for path, operations in openapi.application().openapi()["paths"].items():
        for operation in operations.values():
            open_to_all = path in {"/livez", "/healthz", "/metrics"}
            assert open_to_all or operation["security"]
            assert open_to_all or {"401", "403", "500"} <= set(operation["responses"])
