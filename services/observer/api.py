"""The API that is asked about objects; the only module that knows httpx.

Each lookup has a client, and so a connection, to itself: httpx's pool looks at all of its
connections at each request, which with a thousand of them takes longer than the request.
"""

import asyncio
import ssl
from typing import NamedTuple

import httpx

from services.observer import core
from services.observer.core import Answer
from shared import network_errors
from shared.errors import Refusal
from shared.version import VERSION

ANSWER_BYTES_MAX = 65_536
HEADERS = {"User-Agent": f"minutebook-observer/{VERSION}", "Accept": "application/json"}
ONE = httpx.Limits(max_connections=1, max_keepalive_connections=1)


class _NoAnswer(Exception):
    """Nobody answered, or not to the end."""


class _Response(NamedTuple):
    status: int
    body: bytes


class Api:
    """For one event loop."""

    def __init__(self, url: str, timeout_s: float, ca_file: str = "") -> None:
        """`timeout_s` is for all of a lookup. Raises `Refusal` if `ca_file` cannot be used."""
        self._url = url.rstrip("/")
        self._timeout_s = timeout_s
        try:
            self._context = ssl.create_default_context(cafile=ca_file or None)
        except OSError as error:  # ssl.SSLError is one
            reason = network_errors.tls_objection(error)
            raise Refusal(f"OBSERVER_CA_FILE cannot be used: {reason}") from error
        self._idle: list[httpx.AsyncClient] = []

    async def look_up(self, object_id: int) -> Answer:
        """Ask about one object."""
        try:
            response = await self._get(f"/objects/{object_id}")
        except _NoAnswer as error:
            return Answer("silence", str(error))
        except httpx.HTTPError as error:  # a body that cannot be decoded, say
            return Answer("error", type(error).__name__)
        return core.interpret(*response, object_id)

    async def front_answers(self) -> bool:
        """Say whether the API answers anything at all, be it that there is nothing to be had."""
        try:
            return (await self._get("/")).status not in core.AWAY_STATUSES
        except _NoAnswer:
            return False
        except httpx.HTTPError:
            return True

    async def close(self) -> None:
        """Close all connections."""
        while self._idle:
            await self._idle.pop().aclose()

    async def _get(self, path: str) -> _Response:
        client = self._idle.pop() if self._idle else self._client()
        done = False
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._read(client, path)
            done = True
        except TimeoutError:
            raise _NoAnswer(f"no answer in {self._timeout_s:g} s") from None
        except httpx.TransportError as error:
            raise _NoAnswer(type(error).__name__) from error
        finally:
            if done:
                self._idle.append(client)
            else:  # whatever it was in the middle of
                await client.aclose()
        return response

    async def _read(self, client: httpx.AsyncClient, path: str) -> _Response:
        body = b""
        async with client.stream("GET", self._url + path) as response:
            async for part in response.aiter_bytes():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise httpx.DecodingError("the answer is too long")
            return _Response(response.status_code, body)

    def _client(self) -> httpx.AsyncClient:
        # Its own limit of time begins again with each part of an answer: `_get` has one for all of
        # it. Proxies of the environment are for the outside world.
        return httpx.AsyncClient(
            headers=HEADERS,
            verify=self._context,
            timeout=self._timeout_s,
            limits=ONE,
            trust_env=False,
        )
