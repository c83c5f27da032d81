"""Books of balances, symbols and prices as Hypothesis makes them up, written to Postgres."""

from datetime import UTC, date, datetime, timedelta

import psycopg
from hypothesis import strategies as st

from tests.support.reference_valuation import Books, Past

DAYS = 6
"""Days of which there may be ticks; prices may be of the days before and after, too."""
PROVIDERS = (-3, 1, 2, 2**62)
SYMBOLS, CURRENCIES = ("BTC", "EUR", "eur ö"), ("EUR", "JPY", "USD")
FIRST_DAYS = st.sampled_from([date(2024, 2, 26), date(2023, 2, 26), date(2023, 12, 29)])
"""Before a leap day, before the 28th of February without one, before the end of a year."""

decimals = st.builds(
    lambda whole, fraction: f"{whole}.{fraction}" if fraction else str(whole),
    st.integers(0, 10**20 - 1) | st.integers(0, 10),
    st.text("0123456789", max_size=18),
)
balances = st.integers(-(2**63), 2**63 - 1) | st.integers(-100, 100) | st.none()

FILL = (
    "DELETE FROM tick",
    "DELETE FROM balance",
    """
    INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount)
    SELECT n, 't' || n, boundary, pg_current_snapshot(), 1, 0, 0
      FROM unnest(%(boundaries)s::timestamptz[]) WITH ORDINALITY AS t (boundary, n)
    """,
    """
    INSERT INTO balance (provider_id, epoch, key, key_changed, balance)
    SELECT id, epoch, CASE WHEN is_there THEN id || '_x' END, false, balance
      FROM unnest(%(ids)s::bigint[], %(epochs)s::bigint[], %(there)s::bool[],
                  %(balances)s::numeric[])
           AS b (id, epoch, is_there, balance)
    """,
    """
    INSERT INTO provider_symbol
    SELECT * FROM unnest(%(holders)s::bigint[], %(held)s::text[], %(scales)s::integer[])
    """,
    """
    INSERT INTO price (symbol, currency, day, price)
    SELECT * FROM unnest(%(symbols)s::text[], %(currencies)s::text[], %(days)s::date[],
                         %(prices)s::numeric[])
    """,
)


@st.composite
def books(draw: st.DrawFn) -> tuple[date, Books]:
    """Return books, and the first day of which there may be a tick."""
    first = draw(FIRST_DAYS)
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    # Midnights among them: a tick of midnight ends the day before.
    hours = draw(st.sets(st.integers(0, 4 * DAYS), min_size=1, max_size=8))
    changed = st.dictionaries(
        st.sampled_from(PROVIDERS), balances, min_size=1, max_size=len(PROVIDERS)
    )
    ticks = [Past(start + timedelta(hours=6 * one), draw(changed)) for one in sorted(hours)]
    kinds = st.tuples(st.sampled_from(SYMBOLS), st.integers(0, 18))
    symbols = draw(st.dictionaries(st.sampled_from(PROVIDERS), kinds, min_size=2))
    priced = st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from(CURRENCIES),
        st.integers(-2, DAYS + 1).map(lambda one: first + timedelta(days=one)),
    )
    return first, Books(
        ticks, symbols, draw(st.dictionaries(priced, decimals, min_size=8, max_size=24))
    )


def write(conn: psycopg.Connection, made: Books) -> None:
    """Have Postgres know these books and no others."""
    rows = [
        (number, epoch, one)
        for epoch, tick in enumerate(made.ticks, start=1)
        for number, one in tick.changed.items()
    ]
    given = {
        "boundaries": [one.boundary for one in made.ticks],
        "ids": [number for number, _, _ in rows],
        "epochs": [epoch for _, epoch, _ in rows],
        "there": [one is not None for _, _, one in rows],
        "balances": [one or 0 for _, _, one in rows],
        "holders": list(made.symbols),
        "held": [symbol for symbol, _ in made.symbols.values()],
        "scales": [scale for _, scale in made.symbols.values()],
        "symbols": [symbol for symbol, _, _ in made.prices],
        "currencies": [currency for _, currency, _ in made.prices],
        "days": [day for _, _, day in made.prices],
        "prices": list(made.prices.values()),
    }
    for statement in FILL:
        conn.execute(statement, given)
