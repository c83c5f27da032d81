"""Pages of one thing: a provider with its day, its statement and its alerts; a tick's audit."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import click
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ops.console import session
from ops.console.app import Console, asked_for
from ops.console.balances import Balances
from ops.console.extract import Extract, extract
from ops.console.sections import Sections
from ops.params import ProviderId
from ops.repair import audit
from shared import alert_store
from shared.alert_store import Choice, StoredAlert
from shared.ledger.series import Point, series
from shared.postgres_pool import ReadingPool

DAY = timedelta(hours=24)
STEP_MIN, ROW_STEP = timedelta(minutes=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pages:
    """What answers them."""

    console: Console
    balances: Balances
    pool: ReadingPool
    sections: Sections
    interval_s: float

    def routes(self) -> list[BaseRoute]:
        """Return where they are."""
        return [
            Route("/providers/{id}/series", self.series),
            Route("/providers/{id}", self.provider),
            Route("/ticks", self.ticks),
            Route("/ticks/{epoch:id}", self.tick),
        ]

    async def provider(self, request: Request) -> Response:
        """Answer with a provider's page: what cannot be asked now is said in its place."""
        provider_id = _id(request)
        if provider_id is None:
            return self.console.refuse(request, "A provider's id is a number.", 404)
        shell = {"id": provider_id} | session.shown(request)
        return self.console.stream("provider", shell, partial(self._provider, provider_id))

    async def _provider(self, provider_id: int) -> Markup:
        questions: dict[str, Callable[[], object]] = {
            "day": partial(self._day, provider_id, ROW_STEP),
            "statement": partial(self._statement, provider_id),
            "alerts": partial(self._alerts, provider_id),
        }
        listing, *found = await asyncio.gather(
            self.console.balances_of(partial(self.balances.one, provider_id)),
            *(self.console.ask(one) for one in questions.values()),
        )
        values = {"id": provider_id, "row": listing, **dict(zip(questions, found, strict=True))}
        return self.console.render("provider_main", values)

    async def series(self, request: Request) -> Response:
        """Answer with the balances of 24 hours as JSON, for the chart: seconds since 1970."""
        provider_id = _id(request)
        if provider_id is None:
            return JSONResponse({"error": "a provider's id is a number"}, 404)
        step = max(STEP_MIN, timedelta(seconds=self.interval_s))
        found = await self.console.ask(partial(self._day, provider_id, step))
        if found.error:
            return JSONResponse({"error": found.error}, 503)
        days: list[Point] = found.value
        document = {
            "at": [one.at.timestamp() for one in days],
            "balance": [None if one.balance is None else int(one.balance) for one in days],
        }
        return JSONResponse(document, headers={"Cache-Control": "no-store"})

    async def ticks(self, request: Request) -> Response:
        """Answer with the last boundaries as a table."""
        try:
            at = asked_for(request).at
        except click.UsageError as error:
            return self.console.refuse(request, error.message, 400)
        found = await self.console.ask(partial(self.sections.ticks_until, at))
        now = at or datetime.now(UTC)
        values = self.sections.ticks_view(found.value or [], self.interval_s, now)
        return self.console.show(request, "tick_table", {"found": found} | values)

    async def tick(self, request: Request) -> Response:
        """Answer with a tick's audit: what it wrote, and what its rows add up to."""
        epoch = int(request.path_params["epoch"])
        found = await self.console.ask(partial(self._audit, epoch))
        return self.console.show(request, "tick", {"epoch": epoch, "found": found})

    def _audit(self, epoch: int) -> audit.Audit:
        with self.pool.connection() as conn:
            return audit.audit(conn, epoch=epoch)

    def _day(self, provider_id: int, step: timedelta) -> list[Point]:
        now = datetime.now(UTC)
        with self.pool.connection() as conn:
            return series(conn, provider_id, now - DAY, now, step).points

    def _statement(self, provider_id: int) -> Extract:
        with self.pool.connection() as conn, conn.transaction():
            conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            interval = timedelta(seconds=self.interval_s)
            return extract(conn, provider_id, interval, datetime.now(UTC))

    def _alerts(self, provider_id: int) -> list[StoredAlert]:
        choice = Choice((), provider_id, None, None, None, removed=False)
        with self.pool.connection() as conn:
            return alert_store.select(conn, choice)


def _id(request: Request) -> int | None:
    try:
        return ProviderId().convert(request.path_params["id"], None, None)
    except click.UsageError:
        return None
