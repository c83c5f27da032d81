"""Lists of what is known: requests, alerts, notifications."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Path, Query
from starlette.requests import Request
from starlette.responses import Response

from services.gateway import answers, parameters, reading
from services.gateway.problems import Problem
from services.gateway.reading import (
    PAGE,
    RETRY_AFTER_S,
    Cursor,
    Desk,
    Limit,
    ProviderQuery,
    Text,
    Time,
)
from shared import alert_store
from shared.ledger import notifications
from shared.ledger import request as requests
from shared.shard import ONLY, Shard


@dataclass(frozen=True, slots=True)
class Lister:
    """Answers who may read."""

    desk: Desk
    shard: Shard = ONLY

    def routes(self) -> dict[str, Callable[..., Response]]:
        """Return what answers each path."""
        return {
            "/v1/requests": self.requests,
            "/v1/requests/{key}": self.request,
            "/v1/alerts": self.alerts,
            "/v1/notifications": self.notifications,
        }

    def requests(
        self,
        request: Request,
        state: requests.State | None = None,
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response:
        """Return requests, newest first: what became of each."""
        before = _place(cursor)
        with self.desk.asked(request) as conn:
            tracked = requests.newest(conn, state=state, before=before, most=limit + 1)
        found = [one.document for one in tracked[:limit]]
        following = None
        if len(tracked) > limit:
            accepted_at, key = requests.place(found[-1])
            following = parameters.cursor(accepted_at.isoformat(), key)
        return reading.answer(answers.Requests(found, following))

    def request(self, request: Request, key: Annotated[str, Path(max_length=200)]) -> Response:
        """Return what became of one request."""
        wanted = reading.text(key)
        with self.desk.asked(request) as conn:
            found = requests.document(conn, wanted)
        if found is None:
            detail = "no such request is known; it may be on its way"
            raise Problem(404, "not_known_yet", detail, retry_after_s=RETRY_AFTER_S)
        return reading.answer(found)

    def alerts(  # noqa: PLR0913, PLR0917 - one for each parameter
        self,
        request: Request,
        provider: ProviderQuery = None,
        source: Text = None,
        source_id: Text = None,
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response:
        """Return the alerts that there are, oldest first."""
        place = parameters.place(cursor, 1)
        after = parameters.whole("cursor", place[0]) if place else 0
        number = None if provider is None else parameters.provider(provider, self.shard)
        chosen = alert_store.Choice(
            provider_id=number,
            source=reading.text(source),
            source_id=reading.text(source_id),
            after=after,
            most=limit + 1,
        )
        with self.desk.asked(request) as conn:
            found = alert_store.select(conn, chosen)
        more = len(found) > limit
        following = parameters.cursor(found[limit - 1].id) if more else None
        return reading.answer(answers.Alerts(found[:limit], following))

    def notifications(  # noqa: PLR0913, PLR0917 - one for each parameter
        self,
        request: Request,
        provider: ProviderQuery = None,
        alert: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
        since: Time = None,
        limit: Limit = PAGE,
        cursor: Cursor = None,
    ) -> Response:
        """Return what was told of alerts, newest first."""
        before = _place(cursor)
        number = None if provider is None else parameters.provider(provider, self.shard)
        begin = parameters.time("since", since)
        chosen = notifications.Choice(alert_id=alert, provider_id=number, since=begin)
        with self.desk.asked(request) as conn:
            found = notifications.newest(conn, chosen, limit + 1, before)
        page, following = found[:limit], None
        if len(found) > limit:
            following = parameters.cursor(page[-1].created_at.isoformat(), page[-1].id)
        return reading.answer(answers.Notifications(page, following))


def _place(cursor: str | None) -> tuple[datetime, str] | None:
    """Return where the page before ended: a time, and what tells apart what is of one time."""
    place = parameters.place(cursor, 2)
    at = parameters.time("cursor", place[0]) if place else None
    return (at, reading.text(place[1])) if place and at else None
