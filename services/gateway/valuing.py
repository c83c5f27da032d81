"""Questions about what balances are worth, and what they earned: by what `ops value` answers by."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Annotated, NamedTuple

import psycopg
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from services.gateway import answers, parameters, reading
from services.gateway.problems import Problem
from services.gateway.reading import PAGE, Cursor, Desk, Limit
from shared.ledger import balance_page, returns, valuation

LOOKUPS_MAX = 100_000
"""Balances that are looked up for a page of returns, or for their totals: about a second."""

Day = Annotated[
    str | None,
    Query(json_schema_extra={"format": "date"}, max_length=10, description="in UTC: 2026-11-28"),
]
Currency = Annotated[
    str | None,
    Query(alias="in", max_length=16, description="a currency: EUR; in each, if not given"),
]


class _Place(NamedTuple):
    """Where a page begins; it is of the day and the tick of the first page."""

    day: date | None = None
    epoch: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Valuer:
    """Answers who may read."""

    desk: Desk

    def routes(self) -> dict[str, Callable[..., Response]]:
        """Return what answers each path."""
        return {"/v1/valuation": self.values, "/v1/valuation/returns": self.returns}

    def values(
        self,
        request: Request,
        as_of: Day = None,
        currency: Currency = None,
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response:
        """Return what balances are worth at the end of a day, page by page; totals with the first.

        Values and totals are exact.
        """
        place = _place(cursor)
        code = parameters.currency("in", currency)
        asked = place.day or parameters.day("as_of", as_of)
        with self.desk.asked_at_once(request) as conn:
            day = _past(conn, "as_of", asked)
            at = valuation.end_of(day)
            page = balance_page.page(conn, at, most=limit, after=place.after, epoch=place.epoch)
            found = valuation.values(conn, page.balances, day, code)
            summed = None if cursor else valuation.totals(conn, page.epoch, day, code)
        more = page.after is not None
        following = parameters.cursor(day, page.epoch, page.after) if more else None
        return reading.answer(
            answers.Valuation(
                day,
                code,
                page.tick,
                page.epoch,
                found,
                summed.totals if summed else None,
                summed.not_valued if summed else None,
                following,
            )
        )

    def returns(  # noqa: PLR0913, PLR0917 - one for each parameter
        self,
        request: Request,
        first: Annotated[Day, Query(alias="from")] = None,
        last: Annotated[Day, Query(alias="to")] = None,
        currency: Currency = None,
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response:
        """Return what was earned between the ends of two days, page by page; totals with the first.

        Rates are rounded to 10 digits. Without totals there are too many providers and days.
        """
        place = _place(cursor)
        code = parameters.currency("in", currency)
        since, until = parameters.day("from", first), place.day or parameters.day("to", last)
        with self.desk.asked_at_once(request) as conn:
            end = _past(conn, "to", until)
            days = returns.days(conn, *_in_order(since, end), place.epoch)
            if limit * len(days.days) > LOOKUPS_MAX:
                detail = f"limit x days is above {LOOKUPS_MAX}: ask for fewer"
                raise Problem(422, "too_long", detail)
            ids = returns.providers(conn, limit, place.after)
            found = returns.returns(conn, ids, days, code)
            summed = None if cursor else returns.totals(conn, days, code, LOOKUPS_MAX)
        more = len(ids) == limit
        following = parameters.cursor(end, days.epochs[-1], ids[-1]) if more else None
        totals, not_valued = summed or (None, None)
        begin = days.days[0]
        return reading.answer(
            answers.Returns(begin, end, code, found, totals, not_valued, following)
        )


def _place(cursor: str | None) -> _Place:
    found = parameters.place(cursor, 3)
    if found is None:
        return _Place()
    day, *numbers = found
    return _Place(
        parameters.day("cursor", day), *(parameters.whole("cursor", one) for one in numbers)
    )


def _past(conn: psycopg.Connection, name: str, day: date | None) -> date:
    """Return a day that has begun by Postgres's clock: today without one. Raises `Problem`."""
    today = valuation.today(conn)
    if day and day > today:
        raise Problem(422, "yet_to_come", f"{name}: {day} is in the future")
    return day or today


def _in_order(first: date | None, last: date) -> tuple[date, date]:
    if first is None or first > last:
        says = "the day to begin with" if first is None else "it is after to"
        errors = [{"parameter": "from", "error": says}]
        raise Problem(422, "invalid_parameter", f"from: {says}", errors=errors)
    return first, last
