"""All providers, page by page, within one transaction of the caller: as many as there may be."""

from collections import Counter
from collections.abc import Callable
from datetime import date

import psycopg

from shared.ledger import balance_page, valuation
from shared.ledger import returns as ledger
from shared.ledger.balance_page import Page
from shared.ledger.returns import Return, TotalReturn
from shared.ledger.valuation import Unvalued, Value

PAGE = 1000
Progress = Callable[[int], object]


def values(
    conn: psycopg.Connection, day: date, currency: str | None, progress: Progress
) -> tuple[Page, list[Value]]:
    """Return a page of the day's tick, which says which one it is, and all values."""
    at = valuation.end_of(day)
    page = balance_page.page(conn, at, most=PAGE)
    found = valuation.values(conn, page.balances, day, currency)
    while page.after is not None:
        progress(len(page.balances))
        page = balance_page.page(conn, at, most=PAGE, after=page.after, epoch=page.epoch)
        found += valuation.values(conn, page.balances, day, currency)
    return page, found


def returns(
    conn: psycopg.Connection, first: date, last: date, currency: str | None, progress: Progress
) -> tuple[list[Return], list[TotalReturn], Counter[Unvalued]]:
    """Return what each earned, the totals, and how many have no value, by reason."""
    days = ledger.days(conn, first, last)
    found: list[Return] = []
    totals: list[TotalReturn] = []
    after: int | None = None
    while ids := ledger.providers(conn, PAGE, after):
        more = ledger.returns(conn, ids, days, currency)
        totals = ledger.add_up(conn, totals, more)
        found += more
        after = ids[-1]
        progress(len(ids))
    return found, totals, ledger.not_valued(found)
