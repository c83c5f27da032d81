"""How the parts of a stack under faults are, asked from outside.

The engine asks the servers, as ever, but not the services: each time is a process in a container,
and for nine of them every few seconds that is more than they need themselves.
"""

import contextlib
import urllib.request
from http.client import HTTPException

from docker.errors import DockerException
from docker.models.containers import Container

from tests.support.eventually import eventually
from tests.support.stack import SERVERS, Stack

SETTING = "METRICS_PORT="
LOOK_S, START_TIMEOUT_S = 0.25, 120.0


def unhealthy(stack: Stack) -> list[str]:
    """Return the names of running containers that are not healthy; others may have ended."""
    services = [one for one in stack.containers() if one.status == "running" and _port(one)]
    return stack.unhealthy() + [str(one.name) for one in services if not _answers(one)]


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
    eventually(lambda: not unhealthy(stack), timeout_s, pause_s=LOOK_S)


def _condition(container: Container) -> tuple[str, str]:
    state = container.attrs["State"]
    return state["Status"], state.get("Health", {}).get("Status", "")


def _port(one: Container) -> str:
    """Return the port that it serves its health on, inside; empty for what serves none."""
    settings = one.attrs["Config"]["Env"]
    return "".join(text.removeprefix(SETTING) for text in settings if text.startswith(SETTING))


def _answers(one: Container) -> bool:
    bindings = one.ports.get(f"{_port(one)}/tcp") or []
    for binding in bindings:
        url = f"http://127.0.0.1:{binding['HostPort']}/healthz"
        with (
            contextlib.suppress(OSError, HTTPException),
            urllib.request.urlopen(url, timeout=30) as answer,
        ):
            return bool(answer.status == 200)
    return False
