"""The application: its routes, and how each failure is answered."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import prometheus_client
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Route

from services.gateway import (
    docs_page,
    http_request,
    openapi,
    openapi_asking,
    openapi_probes,
    openapi_writing,
    problems,
)
from services.gateway.alerting import AlertWriter
from services.gateway.problems import Problem
from services.gateway.streaming import Streamer
from shared.health import Health
from shared.version import VERSION

TRANSACTIONS = "/v1/transactions"
Questions = Mapping[str, Callable[..., Response]]
"""By path, what answers it."""


def make(writer: AlertWriter, questions: Questions, streamer: Streamer, health: Health) -> FastAPI:
    """Return the application; its OpenAPI document depends on nothing that is given here."""
    app = FastAPI(
        title="Minutebook",
        version=VERSION,
        description=openapi.ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers={
            Problem: _refuse,
            HTTPException: _refuse_by_framework,
            RequestValidationError: _refuse_parameters,
            Exception: _refuse_for_bug,
        },
    )
    app.add_api_route(TRANSACTIONS, writer.acceptor.transactions, **openapi_writing.TRANSACTIONS)
    app.add_api_route("/callback", writer.acceptor.callback, **openapi_writing.CALLBACK)
    app.add_api_route("/v1/alerts", writer.put, **openapi_writing.PUT_ALERT)
    app.add_api_route("/v1/alerts", writer.remove, **openapi_writing.REMOVE_ALERT)
    for path, answer in questions.items():
        app.add_api_route(path, answer, **openapi_asking.QUESTIONS[path.replace(":path", "")])
    app.add_api_route("/v1/ticks/stream", streamer.stream, **openapi_asking.STREAM)
    _add_probes(app, health)
    app.add_api_route("/docs", _docs(app), include_in_schema=False)
    schemas = {**openapi_writing.SCHEMAS, **openapi_asking.SCHEMAS}
    app.openapi = openapi.completing(app.openapi, schemas)  # type: ignore[method-assign]
    return app


def _docs(app: FastAPI) -> Callable[[], HTMLResponse]:
    def docs() -> HTMLResponse:
        """Return the page that people read."""
        return HTMLResponse(docs_page.render(app.openapi()), headers=docs_page.HEADERS)

    return docs


def _add_probes(app: FastAPI, health: Health) -> None:
    """Have the public port answer what the port of metrics does: for whoever balances the load."""

    def probe(look: Callable[[], dict[str, str]]) -> Callable[[], Response]:
        def answer() -> Response:
            found = look()
            return JSONResponse({"ok": not found, "problems": found}, 503 if found else 200)

        return answer

    def metrics() -> Response:
        found = prometheus_client.generate_latest()
        return Response(found, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    app.add_api_route("/livez", probe(health.stuck), **openapi_probes.LIVEZ)
    app.add_api_route("/healthz", probe(health.problems), **openapi_probes.HEALTHZ)
    app.add_api_route("/metrics", metrics, **openapi_probes.METRICS)


async def _refuse(request: Request, error: Problem) -> Response:
    http_request.of(request.scope).reason = error.reason
    return Response(error.body(), error.status, error.headers, problems.MEDIA_TYPE)


async def _refuse_for_bug(request: Request, _error: Exception) -> Response:
    """Answer; who is around the application logs the error itself."""
    return await _refuse(request, problems.of_status(500))


async def _refuse_by_framework(request: Request, error: HTTPException) -> Response:
    """Answer what the framework finds: no such path, not by this method."""
    headers = error.headers
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers = {"Allow": ", ".join(sorted(_methods(request)))}
    return await _refuse(request, problems.of_status(error.status_code, headers))


def _methods(request: Request) -> set[str]:
    """Return all methods of a path: the framework names those of the first route only."""
    routes = (one for one in request.app.routes if isinstance(one, Route))
    fit = (one for one in routes if one.matches(request.scope)[0] != Match.NONE)
    return {method for one in fit for method in one.methods or ()}


async def _refuse_parameters(request: Request, error: RequestValidationError) -> Response:
    """Answer parameters that do not fit; what was sent is not quoted."""
    found: list[dict[str, Any]] = [
        {"parameter": str(one["loc"][-1]), "error": str(one["msg"])} for one in error.errors()
    ]
    detail = "; ".join(f"{one['parameter']}: {one['error']}" for one in found)
    return await _refuse(request, Problem(422, "invalid_parameter", detail, errors=found))
