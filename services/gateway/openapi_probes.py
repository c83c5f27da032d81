"""What the OpenAPI document says of health and metrics."""

from fastapi.responses import JSONResponse

from services.gateway.openapi import JSON, Json

_TEXT: Json = {"schema": {"type": "string"}}


def _probe(summary: str) -> Json:
    states: Json = {"description": "It is.", "content": {JSON: {"schema": {"type": "object"}}}}
    responses = {"200": states, "503": {**states, "description": "It is not, and why."}}
    return {
        "methods": ["GET"],
        "summary": summary,
        "tags": ["service"],
        "response_class": JSONResponse,
        "openapi_extra": {"responses": responses},
    }


LIVEZ = _probe("Is it alive?")
HEALTHZ = _probe("Can it accept?")
METRICS: Json = {
    "methods": ["GET"],
    "summary": "Metrics, as Prometheus reads them",
    "tags": ["service"],
    "response_class": JSONResponse,
    "openapi_extra": {
        "responses": {
            "200": {
                "description": "Text.",
                "content": {"text/plain": _TEXT},
            }
        }
    },
}
