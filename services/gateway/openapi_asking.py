"""What the OpenAPI document says of the routes that answer questions."""

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi.responses import JSONResponse

from services.gateway import answers
from services.gateway.openapi import JSON, Json, refusals, secured
from shared.ledger.balance_page import ShownBalance
from shared.ledger.life import Life
from shared.ledger.request import Document
from shared.ledger.series import Series

ANSWERS: Mapping[str, tuple[str, Any]] = {
    "/v1/requests": ("What became of requests", answers.Requests),
    "/v1/requests/{key}": ("What became of one request", Document),
    "/v1/transactions/{message_id}": ("The life of one transaction", Life),
    "/v1/balances": ("Balances of all providers at one tick", answers.Balances),
    "/v1/balances/{provider}": ("One provider's balance", ShownBalance),
    "/v1/balances/{provider}/history": ("A balance at regular times", Series),
    "/v1/balances/{provider}/statement": ("What moved a balance", answers.Statement),
    "/v1/valuation": ("What balances are worth", answers.Valuation),
    "/v1/valuation/returns": ("What balances earned", answers.Returns),
    "/v1/alerts": ("Alerts on balances", answers.Alerts),
    "/v1/notifications": ("What was told of alerts", answers.Notifications),
}
"""By path: what it is, and the type of its answer."""
REFUSALS = (400, 401, 403, 404, 410, 422, 500, 503)


def _schemas() -> Json:
    types = [answer for _, answer in ANSWERS.values()]
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    return found


SCHEMAS = _schemas()


def _question(summary: str, answer: Any) -> Json:  # noqa: ANN401 - a type
    schema = {"$ref": f"#/components/schemas/{answer.__name__}"}
    said = {"description": "The answer.", "content": {JSON: {"schema": schema}}}
    return {
        "methods": ["GET"],
        "summary": summary,
        "tags": ["questions"],
        "response_class": JSONResponse,
        "openapi_extra": {**secured("read"), "responses": {"200": said, **refusals(*REFUSALS)}},
    }


QUESTIONS = {path: _question(*said) for path, said in ANSWERS.items()}
STREAM: Json = {
    "methods": ["GET"],
    "summary": "Server-sent events: one for each tick that is shown",
    "tags": ["questions"],
    "response_class": JSONResponse,
    "openapi_extra": {
        **secured("read"),
        "parameters": [
            {
                "name": "Last-Event-ID",
                "in": "header",
                "description": "the epoch to go on from",
                "schema": {"type": "string"},
            }
        ],
        "responses": {
            "200": {
                "description": "Events `tick`; `data` is an object of tick, epoch, shown_at.",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            **refusals(400, 401, 403, 429, 500),
        },
    },
}
