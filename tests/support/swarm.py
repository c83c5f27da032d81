"""A stack of deploy/swarm on this machine's engine, which is as it was before afterwards."""

import contextlib
import fcntl
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.containers import Container
from ruamel.yaml import YAML

from tests.support.containers import ROOT, image, published_port
from tests.support.eventually import eventually
from tests.support.stack import INTERVAL_S, OUR_IMAGE

FILE = ROOT / "deploy" / "swarm" / "stack.yaml"
PASSWORD = "a-password-from-a-file"
COMMAND_TIMEOUT_S, GONE_TIMEOUT_S = 240.0, 60.0
ONE_AT_A_TIME = Path(tempfile.gettempdir()) / "minutebook-swarm.lock"


def run(*arguments: str, **environment: str) -> str:
    """Run `docker`; returns what it said, and fails with it."""
    done = subprocess.run(
        ["docker", *arguments],
        check=False,
        env=dict(os.environ) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    assert not done.returncode, f"docker {' '.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Be in a swarm while inside: the one that the engine is in, or one of this machine alone.

    An engine that was in none is in none afterwards; one that was stays in it. When it leaves, it
    forgets the names in all of its networks: containers of other stacks do not find each other
    until they are started again.
    """
    with ONE_AT_A_TIME.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        about = json.loads(run("info", "--format", "{{json .Swarm}}"))
        if about["LocalNodeState"] == "active":
            if not about["ControlAvailable"]:
                pytest.skip("this engine is a worker of somebody's swarm")
            yield
            return
        here = ("--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377")
        run("swarm", "init", *here)
        try:
            yield
        finally:
            run("swarm", "leave", "--force")


class SwarmStack:
    """One stack under a name of its own, with its own secrets."""

    def __init__(self, client: docker.DockerClient, folder: Path) -> None:
        self._client = client
        self._secrets = folder
        self.name = f"minutebook-test-{uuid.uuid4().hex[:8]}"

    def write_secrets(self) -> None:
        """Write a file for each secret that the stack names."""
        for name in YAML(typ="safe").load(FILE)["secrets"]:
            (self._secrets / name).write_text(self._secret(name))

    def _secret(self, name: str) -> str:
        program, _, kind = name.partition("_")
        login = {"migrate": "user"}.get(program, program)
        return {
            "postgres_dsn": f"postgresql://{login}:{PASSWORD}@postgres:5432/minutebook",
            "rabbitmq_url": f"amqp://{login}:{PASSWORD}@rabbitmq:5672/%2F",
            "rabbitmq_management_url": f"http://{login}:{PASSWORD}@rabbitmq:15672",
        }.get(kind, PASSWORD)

    def deploy(self, **settings: str) -> None:
        """Deploy it, with images of this machine."""
        images = {name: image(name) for name in ("POSTGRES_IMAGE", "RABBITMQ_IMAGE", "KEYDB_IMAGE")}
        ours = {
            "STACK": self.name,
            "SECRETS": str(self._secrets),
            "MINUTEBOOK_IMAGE": OUR_IMAGE,
            "RABBITMQ_PORT": "0",
            "TICK_INTERVAL_SECONDS": str(INTERVAL_S),
        }
        options = ("--compose-file", str(FILE), "--resolve-image", "never")
        run("stack", "deploy", *options, self.name, **images, **ours, **settings)

    def update(self, service: str, image: str) -> str:
        """Replace all replicas of a service, and wait for it; returns how it went."""
        name = f"{self.name}_{service}"
        run("service", "update", "--quiet", "--no-resolve-image", "--image", image, name)
        return run("service", "inspect", "--format", "{{.UpdateStatus.State}}", name).strip()

    def containers(self, service: str = "") -> list[Container]:
        """Return the containers of a service, or all, running or not."""
        labels = [f"com.docker.stack.namespace={self.name}"]
        if service:
            labels = [f"com.docker.swarm.service.name={self.name}_{service}"]
        return self._client.containers.list(
            all=True, filters={"label": labels}, ignore_removed=True
        )

    def running(self, service: str) -> list[Container]:
        """Return the running containers of a service, the newest first."""
        return [one for one in self.containers(service) if one.status == "running"]

    def container(self, service: str) -> Container:
        """Return the newest running container of a service."""
        running = self.running(service)
        assert running, f"no {service} runs"
        return running[0]

    def healthy(self, service: str, replicas: int) -> bool:
        """Say whether so many replicas run and are healthy."""
        states = [one.attrs["State"] for one in self.running(service)]
        found = [one for one in states if one.get("Health", {}).get("Status") == "healthy"]
        return len(found) == replicas

    def amqp_url(self) -> str:
        """Return the URL of the broker on this machine."""
        port = published_port(self.container("rabbitmq"), 5672)
        return f"amqp://user:{PASSWORD}@127.0.0.1:{port}/%2F"

    def asked(self, service: str, *command: str) -> str:
        """Run a command in a service's container; returns what it said."""
        done = self.container(service).exec_run([*command])
        assert isinstance(done.output, bytes)
        said = done.output.decode()
        assert done.exit_code == 0, said
        return said

    def remove(self) -> None:
        """Remove all of it, volumes too."""
        run("stack", "rm", self.name)
        # Swarm would wait for each to stop, and keeps the last ones for who wants to look.
        eventually(self._gone, GONE_TIMEOUT_S, pause_s=0.3)

    def _gone(self) -> bool:
        named = {"name": f"{self.name}_"}
        with contextlib.suppress(docker.errors.APIError):
            for container in self.containers():
                container.remove(force=True)
            for volume in self._client.volumes.list(filters=named):
                volume.remove()
        networks = self._client.networks.list(names=[f"{self.name}_default"])
        return not (self.containers() or self._client.volumes.list(filters=named) or networks)


@contextlib.contextmanager
def stack(client: docker.DockerClient, folder: Path) -> Iterator[SwarmStack]:
    """Yield a stack that is not deployed yet; it goes afterwards."""
    with joined():
        one = SwarmStack(client, folder)
        one.write_secrets()
        try:
            yield one
        finally:
            one.remove()
