"""Single servers by the Docker SDK, each once per run, from the images that compose would use."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, DockerException
from docker.models.containers import Container

from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
DEFAULT_IMAGES = {
    "POSTGRES_IMAGE": "postgres:17",
    "RABBITMQ_IMAGE": "rabbitmq:4.1-management",
    "KEYDB_IMAGE": "eqalpha/keydb:latest",
    # Only the tests use it; deploy/airgap/images.sh reads it here.
    "REDIS_IMAGE": "redis:7",
}
LABEL = "org.minutebook.test"
START_TIMEOUT_S = 180.0
EXEC_EVERY_S = 0.4
"""A command in a container takes a tenth of a second of processor: without a pause the server that
it asks for would start more slowly for it."""
ANSWER_TIMEOUT_S = 180
"""So long an engine may take that starts many containers at once."""


def engine() -> docker.DockerClient:
    """Return a client of the engine; skip without one on a laptop, fail where `CI` is set."""
    try:
        client = docker.from_env(timeout=ANSWER_TIMEOUT_S)
        client.ping()
    except DockerException as error:
        message = f"no Docker engine answers ({error}); 'make engine' starts one"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return client


def image(variable: str) -> str:
    """Return the image that compose would use: environment, `.env`, `.airgap.env`, default."""
    if value := os.environ.get(variable):
        return value
    for name in (".airgap.env", ".env"):
        path = ROOT / name
        for line in path.read_text().splitlines() if path.exists() else ():
            key, _, value = line.partition("=")
            if key.strip() == variable and value.strip():
                return value.strip()
    return DEFAULT_IMAGES[variable]


@contextlib.contextmanager
def running(client: docker.DockerClient, variable: str, **options: Any) -> Iterator[Container]:
    """Run one container while inside; it and its volumes are gone afterwards, whatever happened."""
    container = client.containers.run(
        image(variable), detach=True, labels={LABEL: "true"}, **options
    )
    try:
        yield container
    finally:
        container.remove(v=True, force=True)


def freeze(container: Container) -> None:
    """Pause a container. On a busy machine the kernel may fail to, and a second attempt does it."""

    def probe() -> bool:
        with contextlib.suppress(APIError):
            container.pause()
        container.reload()
        return container.status == "paused"

    eventually(probe, START_TIMEOUT_S)


def published_port(container: Container, port: int) -> int:
    """Return the port of 127.0.0.1 that leads to the container's `port`."""

    def probe() -> int:
        container.reload()
        bindings = container.ports.get(f"{port}/tcp")
        return int(bindings[0]["HostPort"]) if bindings else 0

    return eventually(probe, START_TIMEOUT_S)


def reachable(client: docker.DockerClient) -> bool:
    """Say whether containers' own addresses lead to them: the bridge is this machine's own.

    At a published port a process of the engine passes every byte on, which costs as much as what
    the server does for a small statement; where the engine has a machine of its own, all go there.
    """
    (found, *_) = client.networks.get("bridge").attrs["IPAM"]["Config"] or [{}]
    with socket.socket() as ours:
        try:
            ours.bind((found.get("Gateway", ""), 0))
        except OSError:
            return False
    return "Gateway" in found


def address(container: Container) -> str:
    """Return the container's address in the engine's default network, reachable on Linux."""
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def succeeds(container: Container, command: list[str]) -> bool:
    """Say whether `command` exits 0 inside the container."""
    return container.exec_run(command).exit_code == 0


def await_success(
    container: Container, command: list[str], timeout_s: float = START_TIMEOUT_S
) -> None:
    """Wait until `command` exits 0 inside the container, as a server does that is up."""
    eventually(lambda: succeeds(container, command), timeout_s, pause_s=EXEC_EVERY_S)
