"""Plans of valuation: a page costs what it shows, whatever is kept of balances and prices."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import date, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
from pydantic import Secret

from ops.value.command import OPTIONS
from shared import postgres, postgres_pool
from shared.ledger import return_store, valuation
from shared.settings import PostgresSettings
from tests.support import servers
from tests.support.query_plans import explain, keep_much, scans, visited

PROVIDERS, TICKS, SYMBOLS, CURRENCIES, PRICED_DAYS, PAGE = 20_000, 10, 10, 3, 1000, 100
SIZES = {
    "providers": PROVIDERS, "ticks": TICKS, "symbols": SYMBOLS, "currencies": CURRENCIES,
    "days": PRICED_DAYS,
}  # fmt: skip
FIRST = date(2024, 2, 25)
FILL: list[LiteralString] = [
    "DELETE FROM tick",
    "DELETE FROM balance",
    """
    INSERT INTO tick
    SELECT t, 'token-' || t, timestamptz '2024-02-26T00:00Z' + (t - 1) * interval '1 day',
           pg_current_snapshot(), 1, 0, 0, now(), now()
      FROM generate_series(1, %(ticks)s) t
    """,
    """
    INSERT INTO balance
    SELECT p, t, p || '_Bank', false, t
      FROM generate_series(1, %(ticks)s) t, generate_series(1, %(providers)s) p
     WHERE (p + t) %% 5 = 0
    """,
    """
    INSERT INTO provider_symbol
    SELECT p, 'S' || p %% %(symbols)s, 2 FROM generate_series(1, %(providers)s) p
    """,
    """
    INSERT INTO price (symbol, currency, day, price)
    SELECT 'S' || s, 'C' || c, date '2024-03-10' - d, 1
      FROM generate_series(0, %(symbols)s - 1) s, generate_series(1, %(currencies)s) c,
           generate_series(1, %(days)s) d
    """,
]
TABLES = ("tick", "balance", "provider_symbol", "price")
IDS = list(range(10_000, 10_000 + PAGE))
DAYS = [FIRST + timedelta(days=number) for number in range(TICKS)]
ANY = valuation.within(None)
QUOTED = SYMBOLS * CURRENCIES
LOOK_UPS = 2 * PAGE * TICKS
Query = tuple[LiteralString, dict[str, Any], int]
QUERIES: dict[str, Query] = {
    "values": (
        valuation.SELECT_VALUES,
        ANY | {"ids": IDS, "balances": ["5"] * PAGE, "day": FIRST},
        4 * QUOTED,
    ),
    "providers": (return_store.SELECT_PROVIDERS, {"after": 10_000, "most": PAGE}, 2 * PAGE),
    "days": (
        return_store.SELECT_DAYS,
        {"first": DAYS[0], "last": DAYS[-1], "epoch": None},
        2 * TICKS,
    ),
    "returns": (
        return_store.SELECT_RETURNS,
        ANY
        | {"ids": IDS, "days": DAYS, "epochs": list(range(1, TICKS + 1))}
        | {"first": DAYS[0], "last": DAYS[-1]},
        LOOK_UPS,
    ),
}


@pytest.fixture(scope="module", params=["never-analyzed", "analyzed"])
def dsn(request: pytest.FixtureRequest, postgres_server: servers.Postgres) -> Iterator[str]:
    """A database that has kept much."""
    with postgres_server.database() as dsn:
        keep_much(dsn, TABLES, FILL, SIZES, analyzed=request.param == "analyzed")
        yield dsn


@pytest.mark.parametrize("options", [OPTIONS, postgres_pool.OPTIONS], ids=["ops", "gateway"])
@pytest.mark.parametrize("name", QUERIES)
def test_a_page_reads_what_it_shows(dsn: str, name: str, options: str) -> None:
    query, values, visited_max = QUERIES[name]

    with connected(dsn, options) as conn:
        plan = explain(conn, query, values)

    for table in TABLES:
        for node in scans(plan, table):
            assert node["Node Type"] != "Seq Scan", f"{table} is read whole"
            assert visited(node) <= visited_max, f"{visited(node)} rows of {table}"


def test_totals_look_prices_up_for_each_symbol_and_not_for_each_provider(dsn: str) -> None:
    with connected(dsn, OPTIONS) as conn:
        plan = explain(conn, valuation.SELECT_TOTALS, ANY | {"epoch": TICKS, "day": DAYS[-1]})

    assert sum(visited(node) for node in scans(plan, "price")) <= 6 * QUOTED


def connected(dsn: str, options: str) -> AbstractContextManager[psycopg.Connection]:
    chosen = PostgresSettings(postgres_dsn=Secret(dsn))
    return postgres.connection(chosen, application="test", options=options)
