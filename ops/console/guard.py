"""Around every request: for whom it is, how large it may be, what a browser may do with the answer.

Checking `Host` keeps other people's pages from reading ours: a name of theirs that leads to this
machine (DNS rebinding) is none of CONSOLE_HOSTS.
"""

import re
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES_MAX = 4 * 2**20
"""Of a form: a dead letter's body, or the ids of many."""
HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/@\[\]]+))(?::\d{1,5})?")
PROBED = frozenset({"/livez", "/healthz", "/metrics"})
"""Asked by programs, by whatever name; they say nothing of money, keys or people."""
POLICY = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none';"
    " object-src 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
MISDIRECTED = (
    "The console does not answer to the name that you asked for. CONSOLE_HOSTS lists those that it"
    " does answer to.\n"
)


class Guard:
    """ASGI middleware, the outermost one."""

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str]) -> None:
        """`hosts` are names and addresses in lower case, without ports and brackets."""
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or have it answered, with the headers that every answer has."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        # Pages are never kept; what is ours and the same for everybody is asked for if it is newer.
        cached = "no-cache" if scope["path"].startswith("/static/") else "no-store"

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", cached)
            await send(message)

        app = self._refusal(scope) or self._app
        await app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> ASGIApp | None:
        headers = Headers(scope=scope)
        if scope["path"] not in PROBED and not self._is_ours(headers.getlist("host")):
            return PlainTextResponse(MISDIRECTED, 421)
        if scope["method"] in ("GET", "HEAD"):
            return None
        # A browser always says it of a form.
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            return PlainTextResponse("Content-Length is needed.\n", 411)
        if int(length[:20]) > BODY_BYTES_MAX:
            return PlainTextResponse(f"At most {BODY_BYTES_MAX:,} bytes are taken.\n", 413)
        return None

    def _is_ours(self, hosts: list[str]) -> bool:
        if len(hosts) != 1:
            return False
        found = HOST.fullmatch(hosts[0])
        return found is not None and (found[1] or found[2]).lower() in self._hosts
