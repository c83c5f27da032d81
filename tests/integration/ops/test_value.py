"""`ops value`: what balances are worth at the end of a day, and what they earned."""

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from ops.value import walk
from shared.ledger import valuation
from tests.support import made_up_books, ops_tool
from tests.support.ops_tool import Tool
from tests.support.reference_valuation import Books, Past

TODAY = datetime.now(UTC).date()
DAY = timedelta(days=1)


def ago(days: int) -> date:
    return TODAY - days * DAY


def midnight(days: int) -> datetime:
    """Return the midnight that ended the day so many days ago."""
    return valuation.end_of(ago(days))


@pytest.fixture
def ops(dsn: str, conn: psycopg.Connection) -> Tool:
    """The tool beside a Postgres that has three providers since four days."""
    made_up_books.write(
        conn,
        Books(
            [
                Past(midnight(4), {1: 1900, 2: 500, 3: 7}),
                Past(midnight(3), {1: 2500}),
                Past(midnight(2), {}),
                Past(midnight(1), {1: 2000}),
            ],
            {1: ("EUR", 2), 2: ("BTC", 8)},
            {
                ("EUR", "USD", ago(9)): "1.1",
                ("EUR", "USD", ago(1)): "1.2",
                ("EUR", "JPY", ago(1)): "160",
                ("BTC", "USD", ago(3)): "50000",
            },
        ),
    )
    return ops_tool.deployment(dsn)


def test_balances_are_valued_in_one_currency_with_total_and_reasons(ops: Tool) -> None:
    found = ops.json("value", "--in", "usd", "--as-of", str(TODAY))

    assert (found["day"], found["currency"]) == (str(TODAY), "USD")
    assert [one["value"] for one in found["providers"]] == ["24", "0.25", None]
    assert [one["reason"] for one in found["providers"]] == [None, None, "no_symbol"]
    assert found["providers"][0] == {
        "provider_id": 1, "key": "1_x", "balance": "2000", "symbol": "EUR", "scale": 2,
        "currency": "USD", "price": "1.2", "price_day": str(ago(1)), "value": "24", "reason": None,
    }  # fmt: skip
    assert found["totals"] == [{"currency": "USD", "value": "24.25", "providers": 2}]
    assert found["not_valued"] == {"no_symbol": 1}


def test_a_past_day_has_its_balances_and_its_prices(ops: Tool) -> None:
    found = ops.json("value", "--as-of", str(ago(4)), "--in", "USD")

    assert [one["value"] for one in found["providers"]] == ["20.9", None, None]
    assert found["not_valued"] == {"no_price": 1, "no_symbol": 1}
    assert found["epoch"] == 1


def test_without_a_currency_there_is_a_value_in_each(ops: Tool) -> None:
    found = ops.json("value")

    assert [(one["currency"], one["value"]) for one in found["providers"]] == [
        ("JPY", "3200"), ("USD", "24"), ("USD", "0.25"), (None, None),
    ]  # fmt: skip
    said = ops("value").stdout.splitlines()[-3:]
    assert said == [
        "3200 JPY: 1 provider",
        "24.25 USD: 2 providers",
        "1 provider without value: no symbol (ops prices assign)",
    ]


def test_what_was_earned_leaves_out_what_came_in_and_went_out(ops: Tool) -> None:
    found = ops.json("value", "--from", str(ago(4)), "--to", str(ago(1)), "--in", "USD")

    assert found["providers"][0] == {
        "provider_id": 1, "key": "1_x", "symbol": "EUR", "currency": "USD",
        "value_start": "20.9", "value_end": "24", "flows": "0.6", "positive_flows": "6.6",
        "gain": "2.5", "rate_of_return": "0.0909090909", "reason": None,
    }  # fmt: skip
    assert [one["reason"] for one in found["providers"]] == [None, "no_price", "no_symbol"]
    (total,) = found["totals"]
    assert (total["providers"], total["gain"]) == (1, "2.5")
    assert found["not_valued"] == {"no_price": 1, "no_symbol": 1}
    assert "0.0909090909" in ops("value", "--from", str(ago(4)), "--to", str(ago(1))).stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--as-of", str(ago(5))), "nothing is kept of"),
        (("--from", str(ago(5)), "--to", str(ago(1))), "nothing is kept of"),
        (("--as-of", str(TODAY + 2 * DAY)), "is in the future"),
        (("--from", str(ago(2)), "--to", str(TODAY + 2 * DAY)), "is in the future"),
        (("--from", str(ago(1)), "--to", str(ago(2))), "is after --to"),
    ],
)
def test_days_that_are_not_kept_or_yet_to_come_are_refused(
    ops: Tool, options: tuple[str, ...], says: str
) -> None:
    done = ops("value", *options)
    assert (done.code, says in done.stderr) == (1, True), done


@pytest.mark.parametrize(
    "options",
    [
        ("--from", "2026-11-01"), ("--to", "2026-11-01"), ("--in", "E UR"),
        ("--as-of", "yesterday"), ("--as-of", "2026-02-29"),
        ("--from", "2026-11-01", "--to", "2026-11-02", "--as-of", "2026-11-02"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_a_usage_error(ops: Tool, options: tuple[str, ...]) -> None:
    assert ops("value", *options).code == 2


def test_all_pages_are_walked_through(
    ops: Tool, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk, "PAGE", 1)

    with conn.transaction():
        _, values = walk.values(conn, TODAY, "USD", lambda _: None)
        earned, totals, _ = walk.returns(conn, ago(4), ago(1), "USD", lambda _: None)

    assert [one.provider_id for one in values] == [1, 2, 3]
    assert [one.provider_id for one in earned] == [1, 2, 3]
    assert totals[0].providers == 1


def test_without_a_tick_there_is_nothing_to_value(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("DELETE FROM tick")
    assert "no tick was written yet" in ops_tool.deployment(dsn)("value").stderr
