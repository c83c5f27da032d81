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
from ops.console.dead_letter_acts import DeadLetterActs
from ops.console.dead_letter_pages import DeadLetterPages
from ops.console.guard import Guard
from ops.console.provider_acts import ProviderActs
from ops.console.rendering import ONLY, Place
from ops.console.settings import ConsoleSettings
from ops.console.showing import Pages
from ops.console.signing_in import SigningIn


def surround(app: Starlette, chosen: ConsoleSettings, templates: Environment) -> ASGIApp:
    """Give an application that shows things all that is needed to reach it and to change things."""
    let_act(app, chosen, templates)
    return let_in(app, chosen, templates)


def let_act(
    app: Starlette, chosen: ConsoleSettings, templates: Environment, place: Place = ONLY
) -> None:
    """Give an application what changes things in the Postgres of `chosen`."""
    pages = Pages(templates, place, writes=chosen.writes)
    acting = Acting(chosen, pages)
    app.router.routes += [
        *DeadLetterPages(chosen, pages).routes(),
        *acting.routes(),
        *DeadLetterActs(chosen, pages, acting.within).routes(),
        *ProviderActs(chosen, pages, acting.within).routes(),
    ]
    _excuse(app, pages)


def let_in(
    app: Starlette, chosen: ConsoleSettings, templates: Environment, place: Place = ONLY
) -> ASGIApp:
    """Give an application what it takes to be reached, and to know who asks."""
    pages = Pages(templates, place, writes=chosen.writes)
    app.router.routes += [
        Route("/healthz", _alive, methods=["GET"]),
        Route("/livez", _alive, methods=["GET"]),
        Route("/metrics", _metrics, methods=["GET"]),
        *SigningIn(chosen, pages.show).routes(),
    ]
    _excuse(app, pages)
    sessions = session.middleware()
    app.add_middleware(sessions.cls, *sessions.args, **sessions.kwargs)
    # Not one of its middlewares: what the application says of a bug comes from further out.
    return Guard(app, hosts=chosen.hosts)


def _excuse(app: Starlette, pages: Pages) -> None:
    app.add_exception_handler(HTTPException, pages.refuse)
    app.add_exception_handler(Exception, pages.broken)


async def _alive(_request: Request) -> Response:
    """Say that it serves: what it looks at may be down, which is what it is there to show."""
    return PlainTextResponse("{}\n", media_type="application/json")


async def _metrics(_request: Request) -> Response:
    """Say what the process costs."""
    return Response(
        prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST
    )
