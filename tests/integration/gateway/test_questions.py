"""Questions: what ticks, requests, alerts and transactions say, with the rights of its login."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from shared import request_message
from tests.support import http_gateway, ledger, servers
from tests.support.eventually import eventually
from tests.support.http_gateway import READER, Gateway
from tests.support.ledger import minute

RIGHTS = "options=-c%20role%3Dminutebook_gateway"
VISA = {"provider_id": 1, "key": "1_Visa"}
READ = {"Authorization": f"Bearer {READER}"}
MESSAGE = "payments/4711"


def at(number: int) -> str:
    return minute(number).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture(scope="module")
def books(postgres_server: servers.Postgres) -> Iterator[str]:
    """Three ticks: Visa 1000, 1600, 1500, Mastercard 2000 throughout; the newest is shown."""
    with (
        postgres_server.database() as dsn,
        psycopg.connect(dsn, autocommit=True) as conn,
    ):
        ledger.add_provider(conn, "Visa", 1000)
        ledger.add_provider(conn, "Mastercard", 2000)
        ledger.count_all(conn)
        conn.execute(
            "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
            " VALUES (1, 600, %s)",
            [MESSAGE],
        )
        ledger.count_all(conn)
        ledger.add(conn, 1, -100)
        ledger.count_all(conn)
        conn.execute("UPDATE tick SET published_at = clock_timestamp()")
        yield dsn


@pytest.fixture(scope="module")
def asked(books: str, gateway_url: str) -> Iterator[Gateway]:
    """A gateway over these books, with its own rights and no others."""
    with http_gateway.accepting(gateway_url, f"{books}?{RIGHTS}") as gateway:
        gateway.client.headers.update(READ)
        yield gateway


def get(gateway: Gateway, path: str, **parameters: object) -> Any:
    given = {name.rstrip("_"): str(one) for name, one in parameters.items()}
    answer = gateway.client.get(path, params=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(gateway: Gateway, path: str, **parameters: object) -> tuple[int, str]:
    given = {name.rstrip("_"): str(one) for name, one in parameters.items()}
    answer = gateway.client.get(path, params=given)
    assert answer.headers["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["reason"]


def test_a_balance_is_that_of_the_newest_tick_or_of_a_past_one(asked: Gateway) -> None:
    newest = {**VISA, "balance": "1500", "tick": at(3), "epoch": 3}

    assert get(asked, "/v1/balances/1") == newest
    assert get(asked, "/v1/balances/1_Visa") == newest
    assert get(asked, "/v1/balances/1_a%2Fhistory") == newest
    past = get(asked, "/v1/balances/1", as_of=at(2))
    assert past == {**VISA, "balance": "1600", "tick": at(2), "epoch": 2}


def test_balances_are_paged_and_all_pages_are_of_one_tick(asked: Gateway) -> None:
    first = get(asked, "/v1/balances", limit=1)
    second = get(asked, "/v1/balances", limit=1, cursor=first["next"])
    last = get(asked, "/v1/balances", limit=1, cursor=second["next"])

    assert (first["epoch"], second["epoch"], first["tick"]) == (3, 3, at(3))
    both = first["balances"] + second["balances"]
    assert [(one["key"], one["balance"]) for one in both] == [
        ("1_Visa", "1500"), ("2_Mastercard", "2000"),
    ]  # fmt: skip
    assert (last["balances"], last["next"]) == ([], None)
    past = get(asked, "/v1/balances", as_of=at(1))
    assert [one["balance"] for one in past["balances"]] == ["1000", "2000"]


@pytest.mark.parametrize(
    ("path", "as_of", "found"),
    [
        ("/v1/balances/1", at(0), (410, "not_kept")),
        ("/v1/balances", at(0), (410, "not_kept")),
        ("/v1/balances/1", "2999-01-01T00:00:00Z", (422, "yet_to_come")),
        ("/v1/balances", "2999-01-01T00:00:00Z", (422, "yet_to_come")),
        ("/v1/balances/3", at(2), (404, "not_found")),
    ],
)
def test_a_time_that_is_not_kept_is_410_and_one_to_come_422(
    asked: Gateway, path: str, as_of: str, found: tuple[int, str]
) -> None:
    assert refused(asked, path, as_of=as_of) == found


def test_a_history_has_a_balance_for_each_step_and_gaps(asked: Gateway) -> None:
    found = get(asked, "/v1/balances/1/history", from_=at(0), to=at(4), step="1m")

    assert (found["provider_id"], found["step_s"], found["kept_since"]) == (1, 60, at(1))
    assert [(one["at"], one["balance"]) for one in found["points"]] == [
        (at(1), "1000"), (at(2), "1600"), (at(3), "1500"), (at(4), None),
    ]  # fmt: skip
    assert refused(asked, "/v1/balances/1/history", from_=at(1), to=at(0)) == (
        422, "invalid_parameter",
    )  # fmt: skip
    first_day = {"to": "0001-01-01T00:00:00Z"}
    assert refused(asked, "/v1/balances/1/history", **first_day) == (410, "not_kept")
    assert refused(asked, "/v1/balances/1/history", from_=at(0), step="1s") == (422, "too_long")


def test_a_statement_itemises_what_moved_a_balance(asked: Gateway) -> None:
    found = get(asked, "/v1/balances/1_Visa/statement", from_=at(1), to=at(3))

    assert (found["opening"]["balance"], found["closing"]["balance"]) == ("1000", "1500")
    assert [(one["amount"], one["balance"], one["message_id"]) for one in found["movements"]] == [
        ("600", "1600", MESSAGE), ("-100", "1500", None),
    ]  # fmt: skip
    assert found["not_itemised"] == "0"
    assert refused(asked, "/v1/balances/3/statement", from_=at(1), to=at(3)) == (404, "not_found")


def test_a_transaction_is_found_by_its_identity_whatever_characters_it_has(asked: Gateway) -> None:
    found = get(asked, f"/v1/transactions/{MESSAGE}")

    assert (found["state"], found["epoch"], found["boundary"]) == ("shown", 2, at(2))
    assert (found["row"]["amount"], found["acts"]) == ("600", None)
    answer = asked.client.get("/v1/transactions/unknown")
    assert (answer.status_code, answer.json()["reason"]) == (404, "not_known_yet")
    assert int(answer.headers["Retry-After"]) > 0


def put_request(conn: psycopg.Connection, key: str, by: str, *values: int) -> None:
    """Write a request as the tracker does once it has published it."""
    digest = request_message.digest((1, value, None, None) for value in values)
    conn.execute(
        "INSERT INTO request (id, kind, submitted_by, items, digest, numbers, published_at)"
        " VALUES (%s, 'transactions', %s, %s, %s, '{}', clock_timestamp())",
        [key, by, len(values), digest],
    )


def test_requests_are_listed_newest_first_and_asked_for_by_key(asked: Gateway, books: str) -> None:
    with psycopg.connect(books, autocommit=True) as conn:
        for number in range(3):
            put_request(conn, f"listed-{number}", "shop", 600)
        conn.execute(
            "UPDATE request SET state = 'failed', decided_at = clock_timestamp()"
            " WHERE id LIKE 'listed-%'"
        )

    first = get(asked, "/v1/requests", limit=2, state="failed")
    rest = get(asked, "/v1/requests", limit=2, state="failed", cursor=first["next"])
    listed = [one["request"] for one in first["requests"] + rest["requests"]]
    assert (listed, rest["next"]) == (["listed-2", "listed-1", "listed-0"], None)
    whole = get(asked, "/v1/requests", limit=3, state="failed")
    assert (len(whole["requests"]), whole["next"]) == (3, None)
    found = get(asked, "/v1/requests/listed-1")
    assert (found["request"], found["state"], found["items"]) == ("listed-1", "failed", 1)
    assert refused(asked, "/v1/requests/unknown") == (404, "not_known_yet")
    assert refused(asked, "/v1/requests", state="lost") == (422, "invalid_parameter")


def test_a_key_that_is_known_for_something_else_is_a_conflict_and_otherwise_none(
    asked: Gateway, books: str
) -> None:
    with psycopg.connect(books, autocommit=True) as conn:
        put_request(conn, "of-shop", "shop", 600)
        put_request(conn, "of-desk", "desk", 600)
    login = {"Authorization": f"Bearer {http_gateway.WRITER}"}

    def posted(key: str, value: object) -> httpx.Response:
        headers = {**login, "Idempotency-Key": key}
        items = [{"value": value, "id": 1}]
        return asked.client.post("/v1/transactions", json=items, headers=headers)

    assert posted("of-shop", 600).status_code == 202
    assert posted("of-shop", "0600").status_code == 202
    for key, value in (("of-shop", 601), ("of-desk", 600)):
        answer = posted(key, value)
        assert (answer.status_code, answer.json()["reason"]) == (422, "idempotency_conflict")


def test_alerts_and_notifications_are_listed(asked: Gateway, books: str) -> None:
    with psycopg.connect(books, autocommit=True) as conn:
        for name in ("a", "b"):
            conn.execute(
                "INSERT INTO alert (provider_id, condition, threshold, source, source_id,"
                " since_epoch) VALUES (1, 'below', 1000, 'users', %s, 0)",
                [name],
            )
        conn.execute(
            "INSERT INTO notification (id, alert_id, provider_id, epoch, condition, threshold,"
            " balance) SELECT 'n-' || source_id, id, 1, 3, 'below', 1000, 900 FROM alert"
        )

    first = get(asked, "/v1/alerts", provider="1_Visa", limit=1)
    rest = get(asked, "/v1/alerts", provider="1_Visa", limit=1, cursor=first["next"])
    assert [one["source_id"] for one in first["alerts"] + rest["alerts"]] == ["a", "b"]
    assert (rest["alerts"][0]["threshold"], rest["next"]) == ("1000", None)
    number = first["alerts"][0]["id"]
    told = get(asked, "/v1/notifications", alert=number)["notifications"]
    assert [(one["id"], one["balance"]) for one in told] == [("n-a", "900")]
    pages = [get(asked, "/v1/notifications", limit=1)]
    while cursor := pages[-1]["next"]:
        pages.append(get(asked, "/v1/notifications", limit=1, cursor=cursor))
    assert [[one["id"] for one in page["notifications"]] for page in pages] == [["n-b"], ["n-a"]]


def test_each_tick_that_is_shown_is_an_event_and_a_stream_goes_on_where_it_broke_off(
    asked: Gateway, books: str
) -> None:
    def events(number: int, **headers: str) -> list[dict[str, Any]]:
        """Return so many events, read as they come."""
        found = []
        with asked.client.stream("GET", "/v1/ticks/stream", headers=headers) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    found.append(json.loads(line.removeprefix("data: ")))
                if len(found) == number:
                    return found
        raise AssertionError(found)

    assert [one["epoch"] for one in events(2, **{"Last-Event-ID": "1"})] == [2, 3]
    with ThreadPoolExecutor() as pool, psycopg.connect(books, autocommit=True) as conn:
        listening = pool.submit(events, 1)
        eventually(lambda: asked.program.metric("minutebook_gateway_streams") == 1)
        ledger.count_all(conn)
        conn.execute("UPDATE tick SET published_at = clock_timestamp() WHERE epoch = 4")
        assert [(one["tick"], one["epoch"]) for one in listening.result()] == [(at(4), 4)]
        conn.execute("DELETE FROM tick WHERE epoch = 4")
