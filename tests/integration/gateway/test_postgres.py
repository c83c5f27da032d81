"""What the gateway does without Postgres, and what it learns from it."""

import psycopg

from tests.support import http_gateway, servers
from tests.support.eventually import eventually


def test_without_postgres_questions_are_503_and_what_is_sent_is_accepted(
    gateway_url: str,
) -> None:
    with http_gateway.accepting(gateway_url) as gateway:
        answer = gateway.client.get("/v1/balances/1")
        assert (answer.status_code, answer.json()["reason"]) == (503, "postgres_unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert gateway.send({"id": 1, "value": 6}, Idempotency_Key="K").status_code == 202
        assert gateway.client.get("/healthz").status_code == 200


def test_values_beyond_the_columns_are_unfit_as_soon_as_postgres_has_said_so(
    postgres_server: servers.Postgres, gateway_url: str
) -> None:
    with postgres_server.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("ALTER TABLE historical_transactions ALTER transaction_value TYPE integer")
        with http_gateway.accepting(gateway_url, dsn) as gateway:
            large = {"id": 1, "value": 2**40}
            refused_at_last = eventually(lambda: gateway.send(large).status_code == 422)
            assert refused_at_last
            assert gateway.send({"id": 1, "value": 2**31 - 1}).status_code == 202
