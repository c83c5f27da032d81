"""Alerts by HTTP: each request is a change record on `alerts`, which the notifier reads."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from services.gateway import parameters
from services.gateway.accepting import Acceptor
from services.gateway.http_request import HttpRequest
from services.gateway.problems import Problem
from services.gateway.producer import Outgoing
from shared import alert, change_record, json_object
from shared.transaction_body import INT64_MAX, INT64_MIN
from shared.unfit import Unfit
from shared.unique_ids import time_ordered

ALERTS = "alerts"
"""A routing key of the exchange, and the queue behind it."""
SOURCE = "http"
"""The source of an alert that names none."""

Name = Annotated[str, Query(min_length=1, max_length=255)]
Version = Annotated[int | None, Query(ge=INT64_MIN, le=INT64_MAX)]


@dataclass(frozen=True, slots=True)
class AlertWriter:
    """Accepts alerts. `history_s` is how far back balances are known."""

    acceptor: Acceptor
    history_s: int

    async def put(self, request: Request) -> Response:
        """Add an alert, or change the one of this source and name."""
        found = self.acceptor.begin(request)
        body = await self.acceptor.json_body(found)
        try:
            given = json_object.read(body)
        except Unfit as unfit:
            raise Problem(400, "not_json", unfit.error) from unfit
        record = {
            "operation": "MODIFIED",
            "source": given.get("source", SOURCE),
            "source_id": given.get("source_id", str(time_ordered())),
            "version": given.get("version"),
            "alert": given.get("alert"),
        }
        return await self._publish(found, record)

    async def remove(
        self, request: Request, source_id: Name, source: Name = SOURCE, version: Version = None
    ) -> Response:
        """Remove an alert, if there is one."""
        found = self.acceptor.begin(request)
        record = {"operation": "REMOVED", "source": source, "source_id": source_id}
        return await self._publish(found, {**record, "version": version})

    async def _publish(self, found: HttpRequest, record: dict[str, Any]) -> Response:
        """Publish a record that the notifier will not refuse. Raises `Problem`."""
        body = json.dumps(record).encode()
        try:
            read = change_record.decode(body, "alert")
            if read.operation != "REMOVED":
                provider_id = alert.read(read.content, self.history_s).provider_id
                if provider_id is not None:
                    parameters.check_shard(provider_id, self.acceptor.shard)
        except Unfit as unfit:
            errors = [{"reason": unfit.reason, "error": unfit.error}]
            raise Problem(422, "unfit", unfit.error, errors=errors) from unfit
        message = Outgoing(self.acceptor.shard.name(ALERTS), f"{ALERTS}:{time_ordered()}", body)
        await self.acceptor.publish(found, [message])
        answer = {"source": read.source, "source_id": read.source_id}
        return Response(msgspec.json.encode(answer), 202, None, "application/json")
