"""What all routes share in the OpenAPI document: problems, tokens, and how it is completed."""

from collections.abc import Callable
from typing import Any, get_args

from services.gateway.problems import MEDIA_TYPE, Reason
from services.gateway.tokens import Scope

ABOUT = """\
Transactions in, balances out. Amounts are in minor units: integers, or strings of digits, in;
decimal strings out. Times are RFC 3339 in UTC.

Each failure is a problem document (RFC 9457); its `reason` is what a program decides by. Repeat a
request with the `Idempotency-Key` that was given, and it counts once.
"""
JSON = "application/json"

Json = dict[str, Any]

PROBLEM: Json = {
    "type": "object",
    "description": "RFC 9457. Further members depend on the reason.",
    "required": ["type", "title", "status", "reason", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "reason": {"type": "string", "enum": list(get_args(Reason))},
        "detail": {"type": "string"},
        "request": {"type": "string", "description": "the key to repeat it with"},
        "errors": {
            "type": "array",
            "description": "what is wrong: 100 items at most, counted from 0; or parameters",
            "items": {"type": "object"},
        },
        "errors_total": {"type": "integer", "description": "how many items are unfit in all"},
    },
}


def refusals(*statuses: int) -> Json:
    """Return what is said of answers that are problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    again = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return {
        str(status): {
            "description": SAYS[status],
            "content": content,
            **({"headers": again} if status in AGAIN else {}),
        }
        for status in statuses
    }


SAYS = {
    400: "It cannot be read, or a header is not fit.",
    401: "There is no token, or it is not known.",
    403: "The token may not do this.",
    404: "It is not known, or not yet.",
    408: "Head or body did not come in time.",
    410: "It is not kept any more.",
    413: "It is too large, or has too many items.",
    415: "Not of a media type that is taken, or compressed.",
    422: "It can be read, and does not fit; nothing of it was accepted.",
    429: "Too much is on its way.",
    500: "A bug of ours.",
    503: "A server is away, or takes nothing; the key settles it when repeated.",
}
AGAIN = (429, 503)


def secured(scope: Scope) -> Json:
    """Return which token a route needs."""
    return {"security": [{"bearer": [scope]}]}


def completing(made: Callable[[], Json], schemas: Json) -> Callable[[], Json]:
    """Return what completes the framework's document: by schemas and tokens, once."""
    found: Json = {}

    def document() -> Json:
        if not found:
            found.update(made())
            for operation in (one for path in found["paths"].values() for one in path.values()):
                # The framework's own is not how parameters that do not fit are answered.
                operation["responses"].get("422", {}).get("content", {}).pop(JSON, None)
            found["components"] = {
                "schemas": dict(sorted({"Problem": PROBLEM, **schemas}.items())),
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            }
        return found

    return document
