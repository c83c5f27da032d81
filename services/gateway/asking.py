"""Questions about balances and transactions: each by what the operators' tool answers it by."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Annotated

import psycopg
from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from services.gateway import answers, parameters, reading
from services.gateway.problems import Problem
from services.gateway.reading import PAGE, RETRY_AFTER_S, Cursor, Desk, Limit, ProviderPath, Time
from shared.ledger import balance_page, history, life
from shared.ledger.balance_page import ShownBalance
from shared.ledger.series import series
from shared.ledger.statement import NOT_ITEMISED, statement
from shared.shard import ONLY, Shard

LATELY = timedelta(hours=24)
EARLIEST = datetime.min.replace(tzinfo=UTC) + LATELY
"""Before the day before it there is no time."""
CLOCK_DIFFERENCE_MAX = timedelta(seconds=5)
POINTS_MAX = 10_000
MOVEMENTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Inquirer:
    """Answers who may read. Each answer is a thread's: it waits for Postgres."""

    desk: Desk
    tick_interval_s: int
    shard: Shard = ONLY

    def routes(self) -> dict[str, Callable[..., Response]]:
        """Return what answers each path."""
        one = "/v1/balances/{provider}"
        return {
            "/v1/transactions/{message_id:path}": self.transaction,
            "/v1/balances": self.balances,
            one: self.balance,
            f"{one}/history": self.history,
            f"{one}/statement": self.statement,
        }

    def transaction(
        self, request: Request, message_id: Annotated[str, Path(max_length=255)]
    ) -> Response:
        """Return the life of one transaction, by its identity."""
        identity = reading.text(message_id)
        with self.desk.asked(request) as conn:
            found = life.by_identity(conn, identity)
        if found.state == "unknown":
            detail = "nothing is known of it; it may be on its way"
            raise Problem(404, "not_known_yet", detail, retry_after_s=RETRY_AFTER_S)
        return reading.answer(found)

    def balances(
        self, request: Request, as_of: Time = None, limit: Limit = PAGE, cursor: Cursor = None
    ) -> Response:
        """Return the balances of one tick, page by page."""
        place = parameters.place(cursor, 2)
        epoch, after = (parameters.whole("cursor", one) for one in place) if place else (None, None)
        with self.desk.asked(request) as conn:
            at = _past(conn, parameters.time("as_of", as_of))
            found = balance_page.page(conn, at, most=limit, after=after, epoch=epoch)
        following = None if found.after is None else parameters.cursor(found.epoch, found.after)
        return reading.answer(answers.Balances(found.tick, found.epoch, found.balances, following))

    def balance(self, request: Request, provider: ProviderPath, as_of: Time = None) -> Response:
        """Return one provider's balance, now or at a past time."""
        number = parameters.provider(provider, self.shard)
        with self.desk.asked(request) as conn:
            at = _past(conn, parameters.time("as_of", as_of))
            found = history.balance_at(conn, number, at)
        if found.key is None:
            raise Problem(404, "not_found", f"there was no provider {number} at that tick")
        tick = found.boundary.astimezone(UTC)
        return reading.answer(
            ShownBalance(number, found.key, str(found.balance), tick, found.epoch)
        )

    def history(
        self,
        request: Request,
        provider: ProviderPath,
        first: Annotated[Time, Query(alias="from")] = None,
        last: Annotated[Time, Query(alias="to")] = None,
        step: Annotated[str | None, Query(max_length=10, description="60s, 15m, 1h")] = None,
    ) -> Response:
        """Return one provider's balance at regular times; gaps where there was no tick."""
        number = parameters.provider(provider, self.shard)
        since, until = parameters.time("from", first), parameters.time("to", last)
        apart = parameters.step(step, self.tick_interval_s)
        with self.desk.asked_at_once(request) as conn:
            until = _past(conn, until)
            since = since or max(until, EARLIEST) - LATELY
            _in_order(since, until)
            if (until - since) // apart >= POINTS_MAX:
                detail = f"more than {POINTS_MAX} points: ask for a shorter time or a longer step"
                raise Problem(422, "too_long", detail)
            return reading.answer(series(conn, number, since, until, apart))

    def statement(
        self,
        request: Request,
        provider: ProviderPath,
        first: Annotated[Time, Query(alias="from")] = None,
        last: Annotated[Time, Query(alias="to")] = None,
    ) -> Response:
        """Return opening balance, each movement, closing balance."""
        number = parameters.provider(provider, self.shard)
        since, until = parameters.time("from", first), parameters.time("to", last)
        with self.desk.asked_at_once(request) as conn:
            until = _past(conn, until)
            _in_order(since or until, until)
            with statement(conn, number, since, until) as found:
                movements = list(islice(found.movements, MOVEMENTS_MAX + 1))
        if len(movements) > MOVEMENTS_MAX:
            detail = f"more than {MOVEMENTS_MAX} movements: ask for a shorter time"
            raise Problem(422, "too_long", detail)
        rest = sum(int(one.amount) for one in movements if one.operation == NOT_ITEMISED)
        parts = (found.opening, movements, found.closing, str(rest))
        return reading.answer(answers.Statement(number, *parts))


def _past(conn: psycopg.Connection, at: datetime | None) -> datetime:
    """Return a time that is past, or now, by Postgres's clock. Raises `Problem`."""
    now = history.now(conn)
    if at and at > now + CLOCK_DIFFERENCE_MAX:
        raise Problem(422, "yet_to_come", f"{at:%Y-%m-%dT%H:%M:%SZ} is in the future")
    return at or now


def _in_order(first: datetime, last: datetime) -> None:
    if first > last:
        error = {"parameter": "from", "error": "it is after to"}
        raise Problem(422, "invalid_parameter", "from is after to", errors=[error])
