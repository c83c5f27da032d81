"""Who is signed in, and whether a form is one of ours: kept in a signed cookie, nowhere else.

The key of the signature is made at the start: a restart signs everybody out. Who signs out takes
with them every copy of their cookie.
"""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from copy import copy

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "minutebook_console"
LASTS_S = 8 * 3600
"""A shift."""
NAME, TOKEN, BROWSER = "name", "csrf", "browser"
"""What a session holds: who it is, what each of their forms carries, and a number of a browser that
somebody signed in from."""
ENDED = "minutebook.ended_sessions"
"""Where a request finds the tokens of sessions that were ended before their time."""
FIELDS_MAX, FIELD_BYTES_MAX, STRANGERS_BYTES_MAX = 50, 2**20, 4096
"""Of a form; a stranger has a name, a password and where to go on."""

Act = Callable[[Request, FormData], Response | Awaitable[Response]]
"""What is done with a form; one that waits for a server is a coroutine's, and limits itself."""


class Sessions(SessionMiddleware):
    """Reads and writes the cookie; browsers send it with requests of our own only."""

    def __init__(self, app: ASGIApp) -> None:
        """Nobody is signed in."""
        super().__init__(
            app,
            secret_key=secrets.token_hex(32),
            session_cookie=COOKIE,
            max_age=LASTS_S,
            same_site="strict",
        )
        self._by_tls = copy(self)
        self._by_tls.security_flags += "; secure"
        self._ended: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request know its session, and which sessions were ended.

        A cookie that was given by TLS is not sent in the clear.
        """
        scope[ENDED] = self._ended
        sessions = self._by_tls if scope.get("scheme") == "https" else self
        await SessionMiddleware.__call__(sessions, scope, receive, send)


def middleware() -> Middleware:
    """Return what lets requests know their sessions."""
    return Middleware(Sessions)


def name(request: Request) -> str:
    """Return the name that was given at signing in; empty if nobody is signed in."""
    is_over = request.session.get(TOKEN) in request.scope[ENDED]
    return "" if is_over else str(request.session.get(NAME, ""))


def operator(request: Request) -> str:
    """Return who to write beside a change."""
    return f"{name(request)} (console)"


def shown(request: Request) -> dict[str, str]:
    """Return what templates know: `who` is signed in, and the token of their forms."""
    who = name(request)
    return {"who": who, "csrf": token(request) if who else ""}


def browser(request: Request) -> str:
    """Return the number of a browser that somebody signed in from; empty of any other."""
    return str(request.session.get(BROWSER, ""))


def begin(request: Request, who: str) -> None:
    """Sign in."""
    number = browser(request) or secrets.token_urlsafe(16)
    request.session.clear()
    request.session[BROWSER] = number
    request.session[NAME] = who
    request.session[TOKEN] = secrets.token_urlsafe(32)


def end(request: Request) -> None:
    """Sign out: also whoever has a copy of the cookie."""
    request.scope[ENDED].add(token(request))
    for one in (NAME, TOKEN):
        request.session.pop(one, None)


def token(request: Request) -> str:
    """Return what a form has to carry in its field `csrf`: other people's pages cannot know it."""
    if TOKEN not in request.session:
        request.session[TOKEN] = secrets.token_urlsafe(32)
    return str(request.session[TOKEN])


def form_route(path: str, act: Act, *, writes: bool, signed_in: bool = True) -> Route:
    """Return a route for a form of ours: `act` is called with it.

    `writes` says whether anything may be changed here at all (CONSOLE_WRITES). Otherwise, without
    the form's token, or with `signed_in` where nobody is: 403.
    """
    return Route(path, _endpoint(act, writes=writes, signed_in=signed_in), methods=["POST"])


def _endpoint(
    act: Act, *, writes: bool, signed_in: bool
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if not writes:
            raise HTTPException(403, "This console is read-only: CONSOLE_WRITES is off.")
        # Before the form is read, which may be large.
        if signed_in and not name(request):
            raise HTTPException(403, "Sign in first: only who is signed in may change anything.")
        most = FIELD_BYTES_MAX if signed_in else STRANGERS_BYTES_MAX
        form = await request.form(max_files=0, max_fields=FIELDS_MAX, max_part_size=most)
        _check(request, str(form.get(TOKEN, "")))
        answer = act(request, form)
        return answer if isinstance(answer, Response) else await answer

    return endpoint


def _check(request: Request, given: str) -> None:
    expected = str(request.session.get(TOKEN, ""))
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        raise HTTPException(403, "This form is too old, or not of this console: load it again.")
