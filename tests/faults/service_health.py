"""How the parts of a stack under faults are, asked from outside.

The engine asks the servers, as ever, but not the services: each time is a process in a container,
and for nine of them every few seconds that is more than they need themselves.
"""

import contextlib
import functools
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any

from docker.errors import DockerException, NotFound
from docker.models.containers import Container

from tests.support.eventually import eventually
from tests.support.stack import SERVERS, Stack

SETTING = "METRICS_PORT="
POLL_S, START_TIMEOUT_S = 0.25, 120.0


def unhealthy(stack: Stack) -> list[str]:
    """Return the names of running containers that are not healthy; others may have ended."""
    return stack.unhealthy() + [
        str(one["Names"][0]).removeprefix("/")
        for one in stack.listed()
        if one["State"] == "running"
        and (port := _port(stack, one["Id"]))
        and not _answers(one, port)
    ]


def is_up(stack: Stack, part: str) -> bool:
    """Say whether a server is healthy, or a service runs: it is as well as its servers."""
    wanted = "healthy" if part in SERVERS else "running"
    with contextlib.suppress(DockerException):
        return all(wanted in _condition(one) for one in stack.containers(part))
    return False


def start(stack: Stack, *options: str) -> None:
    """Start all of a stack, and wait until it is healthy."""
    stack.compose("up", "--detach", *options)
    await_healthy(stack)


def await_healthy(stack: Stack, timeout_s: float = START_TIMEOUT_S) -> None:
    """Wait until all of them are."""
    eventually(lambda: not unhealthy(stack), timeout_s, pause_s=POLL_S)


def _condition(container: Container) -> tuple[str, str]:
    state = container.attrs["State"]
    return state["Status"], state.get("Health", {}).get("Status", "")


@functools.cache
def _port(stack: Stack, container_id: str) -> int:
    """Return the port that it serves its health on, inside; 0 for what serves none, or is gone."""
    try:
        settings = stack.client.api.inspect_container(container_id)["Config"]["Env"]
    except NotFound:
        return 0
    return sum(int(text.removeprefix(SETTING)) for text in settings if text.startswith(SETTING))


def _answers(one: Mapping[str, Any], port: int) -> bool:
    bindings = [two for two in one["Ports"] if two["PrivatePort"] == port and "PublicPort" in two]
    for binding in bindings:
        url = f"http://127.0.0.1:{binding['PublicPort']}/healthz"
        with (
            contextlib.suppress(OSError, HTTPException),
            urllib.request.urlopen(url, timeout=30) as answer,
        ):
            return bool(answer.status == 200)
    return False
