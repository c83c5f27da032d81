"""What balances are worth and earn, by HTTP, with the rights of the gateway's login."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from services.gateway import valuing
from shared.ledger import valuation
from tests.support import http_gateway, made_up_books, servers
from tests.support.http_gateway import READER, Gateway
from tests.support.reference_valuation import Books, Past

RIGHTS = "options=-c%20role%3Dminutebook_gateway"
FIRST, LAST = date(2024, 2, 28), date(2024, 3, 1)
DAY = timedelta(days=1)
ANOTHER_TICK = """
WITH added AS (
    INSERT INTO balance (provider_id, epoch, key, key_changed, balance)
    VALUES (2, 4, '2_x', false, 1000)
)
INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount)
VALUES (4, 't4', %s, pg_current_snapshot(), 1, 0, 0)
"""
NO_OTHER_TICK = """
WITH gone AS (DELETE FROM balance WHERE epoch = 4)
DELETE FROM tick WHERE epoch = 4
"""


@pytest.fixture(scope="module")
def books(postgres_server: servers.Postgres) -> Iterator[str]:
    """Two days, the second of them a leap day; without a price for one symbol."""
    made = Books(
        [
            Past(valuation.end_of(FIRST), {1: 1900, 2: 500, 3: 7}),
            Past(valuation.end_of(FIRST + DAY), {1: 2500}),
            Past(valuation.end_of(LAST), {1: 2000}),
        ],
        {1: ("EUR", 2), 2: ("BTC", 8)},
        {
            ("EUR", "USD", FIRST): "1.1",
            ("EUR", "USD", LAST): "1.2",
            ("EUR", "JPY", LAST): "160",
            ("BTC", "USD", LAST): "50000",
        },
    )
    with postgres_server.database() as dsn:
        with psycopg.connect(dsn, autocommit=True) as conn:
            made_up_books.write(conn, made)
        yield dsn


@pytest.fixture(scope="module")
def asked(books: str, gateway_url: str) -> Iterator[Gateway]:
    """A gateway over these books."""
    with http_gateway.accepting(gateway_url, f"{books}?{RIGHTS}") as gateway:
        gateway.client.headers.update({"Authorization": f"Bearer {READER}"})
        yield gateway


def get(gateway: Gateway, path: str = "", **parameters: object) -> Any:
    given = {name.rstrip("_"): str(one) for name, one in parameters.items()}
    answer = gateway.client.get(f"/v1/valuation{path}", params=given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(gateway: Gateway, path: str = "", **parameters: object) -> tuple[int, str]:
    given = {name.rstrip("_"): str(one) for name, one in parameters.items()}
    answer = gateway.client.get(f"/v1/valuation{path}", params=given)
    return answer.status_code, answer.json()["reason"]


def test_balances_of_a_day_are_valued_with_totals_by_currency(asked: Gateway) -> None:
    found = get(asked, as_of=LAST, in_="USD")

    assert found["providers"][0] == {
        "provider_id": 1, "key": "1_x", "balance": "2000", "symbol": "EUR", "scale": 2,
        "currency": "USD", "price": "1.2", "price_day": "2024-03-01", "value": "24", "reason": None,
    }  # fmt: skip
    assert [one["reason"] for one in found["providers"]] == [None, None, "no_symbol"]
    assert found["totals"] == [{"currency": "USD", "value": "24.25", "providers": 2}]
    assert found["not_valued"] == {"no_symbol": 1}
    assert (found["day"], found["tick"], found["epoch"], found["next"]) == (
        "2024-03-01", "2024-03-02T00:00:00Z", 3, None,
    )  # fmt: skip


def test_without_a_day_it_is_today_and_without_a_currency_each(asked: Gateway) -> None:
    found = get(asked)

    assert [one["value"] for one in found["providers"]] == ["3200", "24", "0.25", None]
    assert [one["currency"] for one in found["totals"]] == ["JPY", "USD"]


def test_a_leap_day_has_its_own_balances_and_prices(asked: Gateway) -> None:
    found = get(asked, as_of="2024-02-29", in_="USD")

    assert [one["value"] for one in found["providers"]] == ["27.5", None, None]
    assert found["not_valued"] == {"no_price": 1, "no_symbol": 1}


def test_pages_follow_each_other_and_the_first_has_the_totals(asked: Gateway) -> None:
    first = get(asked, as_of=LAST, limit=2)
    rest = get(asked, as_of=LAST, limit=2, cursor=first["next"])

    assert [one["provider_id"] for one in first["providers"] + rest["providers"]] == [1, 1, 2, 3]
    assert (first["totals"] is None, rest["totals"], rest["not_valued"]) == (False, None, None)
    assert rest["next"] is None


def test_a_tick_or_a_midnight_between_two_pages_changes_nothing(asked: Gateway, books: str) -> None:
    since = {"from_": LAST, "in_": "USD"}
    values = get(asked, as_of=FIRST, limit=1)
    earned = get(asked, "/returns", **since, limit=1)
    with psycopg.connect(books, autocommit=True) as conn:
        conn.execute(ANOTHER_TICK, [valuation.end_of(LAST) + DAY])
        now = get(asked, "/returns", **since, limit=2)
        values_on = get(asked, limit=1, cursor=values["next"])  # without its day, as after midnight
        earned_on = get(asked, "/returns", **since, limit=1, cursor=earned["next"])
        conn.execute(NO_OTHER_TICK)

    assert (values_on["day"], values_on["epoch"]) == (str(FIRST), values["epoch"])
    assert earned_on["to"] == earned["to"]
    ends = [one["providers"][-1]["value_end"] for one in (now, earned_on)]
    assert ends == ["0.5", "0.25"]


def test_returns_have_the_figures_that_they_are_made_of(asked: Gateway) -> None:
    found = get(asked, "/returns", from_=FIRST, to=LAST, in_="USD")

    assert found["providers"][0] == {
        "provider_id": 1, "key": "1_x", "symbol": "EUR", "currency": "USD",
        "value_start": "20.9", "value_end": "24", "flows": "0.6", "positive_flows": "6.6",
        "gain": "2.5", "rate_of_return": "0.0909090909", "reason": None,
    }  # fmt: skip
    assert (found["from"], found["to"]) == ("2024-02-28", "2024-03-01")
    assert found["totals"][0]["rate_of_return"] == "0.0909090909"
    assert found["not_valued"] == {"no_price": 1, "no_symbol": 1}
    page = get(asked, "/returns", from_=FIRST, to=LAST, limit=1)
    assert (len(page["providers"]), page["next"] is None) == (1, False)
    rest = get(asked, "/returns", from_=FIRST, to=LAST, limit=1, cursor=page["next"])
    assert (rest["providers"][0]["provider_id"], rest["totals"]) == (2, None)


def test_what_is_not_kept_yet_to_come_or_not_understood_is_refused(asked: Gateway) -> None:
    tomorrow = datetime.now(UTC).date() + 2 * DAY

    assert refused(asked, as_of=FIRST - DAY) == (410, "not_kept")
    assert refused(asked, as_of=tomorrow) == (422, "yet_to_come")
    for unfit in ({"as_of": "2023-02-29"}, {"as_of": "x"}, {"in_": "eur"}, {"cursor": "x"}):
        assert refused(asked, **unfit) == (422, "invalid_parameter")
    assert refused(asked, "/returns", from_=FIRST - DAY, to=LAST) == (410, "not_kept")
    assert refused(asked, "/returns", from_=FIRST, to=tomorrow) == (422, "yet_to_come")
    assert refused(asked, "/returns", from_=LAST, to=FIRST) == (422, "invalid_parameter")
    assert refused(asked, "/returns", to=LAST) == (422, "invalid_parameter")


def test_a_page_of_more_look_ups_than_are_done_at_once_is_refused(asked: Gateway) -> None:
    days = (datetime.now(UTC).date() - FIRST).days
    assert days * 1000 > valuing.LOOKUPS_MAX

    assert refused(asked, "/returns", from_=FIRST, limit=1000) == (422, "too_long")


def test_nobody_asks_without_a_token(asked: Gateway) -> None:
    for path in ("/v1/valuation", "/v1/valuation/returns?from=2024-02-28"):
        answer = asked.client.get(path, headers={"Authorization": ""})
        assert answer.status_code == 401
