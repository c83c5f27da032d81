"""The gateway, as a client of HTTP sees it."""

from typing import Any

import httpx

from demo import servers
from demo.failure import EXIT_SETTINGS, DemoFailed
from demo.ports import HOST
from demo.stack import Configuration, Container

PORT = 8080
TOKENS = "GATEWAY_TOKENS"
TIMEOUT_S = 20.0
TOKEN_PARTS = 3


def address(containers: list[Container]) -> str:
    """Return where it is found on this machine."""
    return f"http://{HOST}:{servers.port(containers, 'gateway', PORT)}"


def client(token: str, containers: list[Container]) -> httpx.Client:
    """Return a client that has this token."""
    headers = {"Authorization": f"Bearer {token}"}
    # What is on this machine is not asked of a proxy.
    return httpx.Client(
        base_url=address(containers), headers=headers, timeout=TIMEOUT_S, trust_env=False
    )


def token(configuration: Configuration) -> str:
    """Return a token that may write and read. Raises `DemoFailed` if there is none."""
    tokens = configuration.services["gateway"]["environment"].get(TOKENS, "")
    for one in str(tokens).replace("$$", "$").split():
        parts = one.split(":")
        if len(parts) == TOKEN_PARTS and {"read", "write"} <= set(parts[2].split("+")):
            return parts[1]
    raise DemoFailed(
        f"{TOKENS} has no token of 'read+write', which the tour needs", exit_code=EXIT_SETTINGS
    )


def answer(response: httpx.Response, status: int = 200) -> Any:  # noqa: ANN401 - a JSON document
    """Return the document of a response. Raises `DemoFailed` if its status is another."""
    if response.status_code != status:
        asked = f"{response.request.method} {response.request.url.path}"
        raise DemoFailed(
            f"{asked} was answered {response.status_code}, not {status}",
            details=response.text.splitlines(),
        )
    return response.json()
