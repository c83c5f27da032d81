"""`/sign-in` and `/sign-out`: who one is, by the one password that all operators share.

The name is what they type; it stands in `operator_action` beside all that they do.
"""

import hashlib
import hmac
import math
from collections.abc import Callable, Sequence

import structlog
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from ops.console import session
from ops.console.attempts import Attempts
from ops.console.settings import ConsoleSettings

NAME_LENGTH_MAX = 100
PAGE = "sign_in.html"

Show = Callable[..., Response]
"""Renders a template: `show(request, name, context, status_code=200)`."""

log = structlog.get_logger()


class SigningIn:
    """Both routes, and how often the password was tried."""

    def __init__(self, chosen: ConsoleSettings, show: Show) -> None:
        """`show` renders a page."""
        self._writes = chosen.writes
        self._digest = _digest(chosen.console_password.get_secret_value())
        self._show = show
        self._attempts = Attempts()

    def routes(self) -> Sequence[Route]:
        """Return the routes."""
        return [
            Route("/sign-in", self._form, methods=["GET"]),
            session.form_route("/sign-in", self._sign_in, writes=self._writes, signed_in=False),
            session.form_route("/sign-out", self._sign_out, writes=self._writes),
        ]

    def _form(self, request: Request) -> Response:
        return self._page(request, next_page=_within(request.query_params.get("next", "")))

    def _sign_in(self, request: Request, form: FormData) -> Response:
        address = request.client.host if request.client else ""
        name, next_page = str(form.get("name", "")).strip(), _within(str(form.get("next", "")))
        if not _is_name(name):
            said = f"A name has 1 to {NAME_LENGTH_MAX} letters that can be seen."
            return self._page(request, next_page, said, 422)
        browser = session.browser(request)
        wait_s = math.ceil(self._attempts.begin(browser or address, stranger=not browser))
        if wait_s:
            log.warning("sign_in_held_up", client=address, wait_s=wait_s)
            headers = {"Retry-After": str(wait_s)}
            raise HTTPException(429, f"Too many attempts: try again in {wait_s} s.", headers)
        if not hmac.compare_digest(_digest(str(form.get("password", ""))), self._digest):
            log.warning("sign_in_refused", client=address)
            return self._page(request, next_page, "That is not the password.", 403, name)
        self._attempts.succeeded(browser or address)
        session.begin(request, name)
        log.info("signed_in", client=address, operator=name)
        return RedirectResponse(next_page, 303)

    def _sign_out(self, request: Request, _form: FormData) -> Response:
        session.end(request)
        return RedirectResponse("/", 303)

    def _page(
        self, request: Request, next_page: str, said: str = "", status: int = 200, name: str = ""
    ) -> Response:
        shown = {"writes": self._writes, "next": next_page, "said": said, "name": name}
        if self._writes:
            shown["csrf"] = session.token(request)
        return self._show(request, PAGE, shown, status_code=status)


def _is_name(name: str) -> bool:
    return 0 < len(name) <= NAME_LENGTH_MAX and name.isprintable()


def _within(path: str) -> str:
    """Return `path` if it is one of this console's, else its first page."""
    ours = path.startswith("/") and path.isprintable() and path[1:2] not in ("/", "\\")
    return path if ours else "/"


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogateescape")).digest()
