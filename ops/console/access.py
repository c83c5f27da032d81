"""What surrounds the application: who reaches it, who may change what, what is said instead."""

import prometheus_client
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ops.console import session
from ops.console.acting import Acting
from ops.console.guard import Guard
from ops.console.letter_acts import LetterActs
from ops.console.letters import Letters
from ops.console.provider_acts import ProviderActs
from ops.console.settings import ConsoleSettings
from ops.console.showing import Pages
from ops.console.signing_in import SigningIn


def surround(app: Starlette, chosen: ConsoleSettings, templates: Environment) -> ASGIApp:
    """Give an application that shows things all that is needed to reach it and to change things."""
    pages = Pages(templates, writes=chosen.writes)
    acting = Acting(chosen, pages)
    app.router.routes += [
        Route("/healthz", _alive, methods=["GET"]),
        Route("/livez", _alive, methods=["GET"]),
        Route("/metrics", _metrics, methods=["GET"]),
        *SigningIn(chosen, pages.show).routes(),
        *Letters(chosen, pages).routes(),
        *acting.routes(),
        *LetterActs(chosen, pages, acting.within).routes(),
        *ProviderActs(chosen, pages, acting.within).routes(),
    ]
    app.add_exception_handler(HTTPException, pages.refuse)
    sessions = session.middleware()
    app.add_middleware(sessions.cls, *sessions.args, **sessions.kwargs)
    app.add_exception_handler(Exception, pages.broken)
    # Not one of its middlewares: what the application says of a bug comes from further out.
    return Guard(app, hosts=chosen.hosts)


async def _alive(_request: Request) -> Response:
    """Say that it serves: what it looks at may be down, which is what it is there to show."""
    return PlainTextResponse("{}\n", media_type="application/json")


async def _metrics(_request: Request) -> Response:
    """Say what the process costs."""
    return Response(
        prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST
    )
