"""A client of an ASGI application in this process: no port, no redirects; it keeps cookies."""

import asyncio
from typing import Any

import httpx
from starlette.types import ASGIApp


class Browser:
    """Asks the application at `base`."""

    def __init__(
        self, app: ASGIApp, base: str = "http://127.0.0.1:8081", *, raises: bool = True
    ) -> None:
        """The application must not need its lifespan; `raises` its bugs, too."""
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=raises)
        self._client = httpx.AsyncClient(transport=transport, base_url=base)

    @property
    def cookies(self) -> httpx.Cookies:
        """What it was given to keep."""
        return self._client.cookies

    def get(self, path: str, **more: Any) -> httpx.Response:
        """Ask for a page."""
        return asyncio.run(self._client.get(path, **more))

    def post(self, path: str, form: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Send a form."""
        return asyncio.run(self._client.post(path, data=form, **more))
