"""What the OpenAPI document says of the routes that write."""

from collections.abc import Sequence

from fastapi.responses import JSONResponse

from services.gateway.openapi import JSON, Json, refusals, secured
from shared.alert import CONDITIONS

AMOUNT: Json = {
    "description": "minor units",
    "oneOf": [
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "string", "pattern": "^-?[0-9]{1,18}$"},
    ],
}
TRANSACTION: Json = {
    "type": "object",
    "required": ["id", "value"],
    "properties": {
        "id": {"type": "integer", "format": "int64", "description": "the provider's id"},
        "value": AMOUNT,
        "message_id": {
            "type": "string",
            "maxLength": 255,
            "description": "its identity; of the request's key and its place if there is none",
        },
    },
    "example": {"id": 1, "value": 600},
}
SCHEMAS: Json = {"Transaction": TRANSACTION}


def parameter(name: str, pattern: str, description: str, never: Sequence[str] = ()) -> Json:
    """Return a header that a request may have."""
    schema: Json = {"type": "string", "pattern": pattern, "maxLength": 255}
    if never:
        schema["not"] = {"enum": list(never)}
    return {"name": name, "in": "header", "description": description, "schema": schema}


def accepted(description: str, properties: Json, headers: Json | None = None) -> Json:
    """Return what is said of the answer 202."""
    schema = {"type": "object", "required": list(properties), "properties": properties}
    said: Json = {"description": description, "content": {JSON: {"schema": schema}}}
    return {"202": {**said, "headers": headers} if headers else said}


WRITING = (400, 401, 403, 408, 413, 415, 422, 429, 500, 503)
_TEXT = {"schema": {"type": "string"}}
_ONE = {"$ref": "#/components/schemas/Transaction"}
_MANY = {"type": "array", "items": _ONE, "minItems": 1, "maxItems": 10_000}

TRANSACTIONS: Json = {
    "methods": ["POST"],
    "summary": "Send transactions, all or nothing",
    "description": "Accepted whole, as one request; stored item by item.",
    "status_code": 202,
    "tags": ["transactions"],
    "response_class": JSONResponse,
    "openapi_extra": {
        **secured("write"),
        "parameters": [
            parameter(
                "Idempotency-Key",
                r'^([A-Za-z0-9._~-]{1,200}|"[A-Za-z0-9._~-]{1,200}")$',
                "the request's id; made, and given back, where there is none",
                never=(".", "..", '"."', '".."'),
            ),
            parameter(
                "Reply-To",
                r"^(replies\.|amq\.gen-|amq\.rabbitmq\.reply-to\.)[!-~]+$",
                "queue that is told of the request's outcome",
            ),
            parameter("Correlation-Id", "^[!-~]*$", "handed on with that reply"),
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"oneOf": [_ONE, _MANY]}},
                "application/x-ndjson": {**_TEXT, "example": '{"id": 1, "value": 600}\n'},
                "text/csv": {**_TEXT, "example": "id,value\n1,600\n"},
            },
        },
        "responses": {
            **accepted(
                "The broker has it safe.",
                {"request": {"type": "string"}, "items": {"type": "integer"}},
                {
                    "Location": {"schema": {"type": "string"}, "description": "the request"},
                    "Idempotency-Key": {"schema": {"type": "string"}, "description": "its key"},
                },
            ),
            **refusals(*WRITING),
        },
    },
}
CALLBACK: Json = {
    "methods": ["POST"],
    "summary": "Say which objects were seen",
    "status_code": 202,
    "tags": ["sightings"],
    "response_class": JSONResponse,
    "openapi_extra": {
        **secured("write"),
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {
                        "type": "object",
                        "required": ["object_ids"],
                        "properties": {
                            "object_ids": {
                                "type": "array",
                                "items": {"type": "integer", "format": "int64"},
                                "minItems": 1,
                                "maxItems": 10_000,
                            }
                        },
                    }
                }
            },
        },
        "responses": {
            **accepted("All are on their way.", {"objects": {"type": "integer"}}),
            **refusals(*WRITING),
        },
    },
}
_ALERT: Json = {
    "type": "object",
    "required": ["alert"],
    "properties": {
        "source": {"type": "string", "minLength": 1, "maxLength": 255, "default": "http"},
        "source_id": {"type": "string", "minLength": 1, "maxLength": 255},
        "version": {"type": ["integer", "null"], "format": "int64"},
        "alert": {
            "type": "object",
            "required": ["provider_id", "condition"],
            "properties": {
                "provider_id": {"type": ["integer", "null"], "description": "null: each one"},
                "condition": {"type": "string", "enum": list(CONDITIONS)},
                "threshold": {"type": ["integer", "string"], "pattern": "^-?[0-9]{1,38}$"},
                "for_seconds": {"type": "integer", "minimum": 1},
            },
        },
    },
    "example": {"alert": {"provider_id": 1, "condition": "below", "threshold": "1000"}},
}
_NAMED = accepted(
    "On its way to the notifier.",
    {"source": {"type": "string"}, "source_id": {"type": "string"}},
)
PUT_ALERT: Json = {
    "methods": ["POST"],
    "summary": "Add or change an alert",
    "status_code": 202,
    "tags": ["alerts"],
    "response_class": JSONResponse,
    "openapi_extra": {
        **secured("write"),
        "requestBody": {"required": True, "content": {JSON: {"schema": _ALERT}}},
        "responses": {**_NAMED, **refusals(*WRITING)},
    },
}
REMOVE_ALERT: Json = {
    "methods": ["DELETE"],
    "summary": "Remove an alert",
    "status_code": 202,
    "tags": ["alerts"],
    "response_class": JSONResponse,
    "openapi_extra": {
        **secured("write"),
        "responses": {**_NAMED, **refusals(400, 401, 403, 422, 429, 500, 503)},
    },
}
