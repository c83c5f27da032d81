"""From a POST to rows and back: gateway, tracker and ingest together."""

import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support import http_gateway, ledger, programs, servers
from tests.support.eventually import eventually
from tests.support.http_gateway import Gateway

ROWS = "SELECT message_id, transaction_value FROM historical_transactions ORDER BY message_id"
RIGHTS = "options=-c%20role%3Dminutebook"


@pytest.fixture
def whole(rabbitmq_server: servers.Rabbitmq, dsn: str) -> Iterator[Gateway]:
    """All three, each with the rights of its own login in Postgres."""
    with rabbitmq_server.vhost() as url, contextlib.ExitStack() as stack:
        with http_gateway.queues(url):
            pass
        for service in ("ingest", "tracker"):
            given = {"RABBITMQ_URL": url, "POSTGRES_DSN": f"{dsn}?{RIGHTS}_{service}"}
            stack.enter_context(programs.running(f"services.{service}", **given))
        yield stack.enter_context(http_gateway.accepting(url, f"{dsn}?{RIGHTS}_gateway"))


def document(gateway: Gateway, key: str) -> dict[str, Any]:
    answer = gateway.client.get(f"/v1/requests/{key}")
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 200 else {}


def test_a_request_becomes_rows_once_however_often_it_is_sent_and_no_other_has_its_key(
    whole: Gateway, conn: psycopg.Connection
) -> None:
    ledger.add_provider(conn, "Visa", 0)
    items = [{"id": 1, "value": 600}, {"id": 1, "value": "-1", "message_id": "own"}]

    def send(*given: object) -> tuple[int, str | None]:
        answer = whole.send(*given, Idempotency_Key="order-1")
        return answer.status_code, answer.json().get("reason")

    assert send(*items) == (202, None)
    eventually(lambda: document(whole, "order-1").get("stored") == 2, 60)
    assert send(*items) == (202, None)
    assert send({"id": 1, "value": 600}) == (422, "idempotency_conflict")
    assert send(*reversed(items)) == (422, "idempotency_conflict")
    whole.send({"id": 1, "value": 5}, Idempotency_Key="order-2")
    eventually(lambda: document(whole, "order-2").get("stored") == 1, 60)

    assert conn.execute(ROWS).fetchall() == [("order-1:0", 600), ("order-2:0", 5), ("own", -1)]
    life = whole.client.get("/v1/transactions/order-1:0").json()
    assert (life["state"], life["row"]["amount"]) == ("stored", "600")
