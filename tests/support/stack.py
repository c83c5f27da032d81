"""The shipped compose.yaml as a project of its own, with every port 0.

Containers and ports are found by compose's labels; the whole project goes at the end, volumes too.
"""

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import subprocess
import tempfile
import urllib.request
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import docker
import pika
import psycopg
import redis
from docker.errors import APIError
from docker.models.containers import Container

from tests.support import secrets_exposed
from tests.support.containers import ROOT, published_port

INTERVAL_S = 2
QUEUE = "incoming_transactions"
USER = "user"
PROGRAMS = ("ingest", "ticker", "syncer")
FOLLOWERS = ("feed", "notifier")
"""Followers, which the core does without: each has a profile of its name."""
BY_HTTP = ("gateway", "tracker")
"""Requests, which it does without, too: both have the profile `gateway`."""
OBSERVING = ("observer",)
"""Objects that were seen, apart from all money."""
SERVERS = ("postgres", "rabbitmq", "keydb")
SETTINGS = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text()))
PASSWORDS = {name for name in SETTINGS if name.endswith("_PASSWORD")}
PORTS = {name for name in SETTINGS if name.endswith(("_PORT", "_PORTS"))}
FOR_IMAGES = {name for name in SETTINGS if name.endswith("_IMAGE")} | {"BUILD_NETWORK"}
ENV_FILES = (".env", ".airgap.env")
# The same in every run from this checkout, so that runs replace it and none is left behind.
OUR_IMAGE = "minutebook-test:" + hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
BUILDER = OUR_IMAGE.replace(":", "-")
"""The project that builds it, for compose writes a project's name into what it builds: built by
another one it is another image, for which compose replaces the containers of stacks that are up.
"""
COMMAND_TIMEOUT_S, LOG_LINES_SHOWN = 240.0, 40


class Stack:
    """One project; nothing of it runs before `up`."""

    def __init__(self, client: docker.DockerClient, secrets: dict[str, str] | None = None) -> None:
        """Its passwords are its own, and easily recognised; `secrets` are of one that is up."""
        self.client = client
        self.settings: dict[str, str] = {}
        """Settings of compose.yaml that differ from those all tests have; set before `up`."""
        self.overrides: list[Path] = []
        """Compose files laid over compose.yaml; added before `up`."""
        self.project = f"minutebook-test-{uuid.uuid4().hex[:8]}"
        self.secrets = secrets or {name: f"secret-{uuid.uuid4().hex}" for name in sorted(PASSWORDS)}
        self.postgres_password = self.secrets["POSTGRES_PASSWORD"]
        self.rabbitmq_password = self.secrets["RABBITMQ_PASSWORD"]

    def environment(self) -> dict[str, str]:
        """Return the environment of `docker compose`: of the settings around us only images."""
        # Empty is unset for compose.yaml, and stronger than .env.
        return (
            dict(os.environ)
            | dict.fromkeys(SETTINGS - FOR_IMAGES, "")
            | dict.fromkeys(PORTS, "0")
            | {
                "COMPOSE_PROJECT_NAME": self.project,
                "MINUTEBOOK_IMAGE": OUR_IMAGE,
                "TICK_INTERVAL_SECONDS": str(INTERVAL_S),
            }
            | self.secrets
            | self.settings
        )

    def compose(self, *arguments: str) -> str:
        """Run `docker compose`; fails with all it said."""
        files = [f"--env-file={name}" for name in ENV_FILES if (ROOT / name).exists()]
        files += [f"--file={path}" for path in [ROOT / "compose.yaml", *self.overrides]]
        done = subprocess.run(
            ["docker", "compose", *files, *arguments],
            cwd=ROOT,
            env=self.environment(),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        if done.returncode:
            message = f"docker compose {' '.join(arguments)}: {done.returncode}\n{done.stdout}"
            raise AssertionError(message)
        return done.stdout

    def up(self, *services: str, options: Iterable[str] = ()) -> None:
        """Start `services`, or all, and wait until they are healthy."""
        self.compose("up", "--detach", "--wait", *options, *services)

    def destroy(self) -> None:
        """Remove everything of it, quickly: killed, not asked to stop."""
        for one in self.listed():
            with contextlib.suppress(APIError):
                self.client.api.kill(one["Id"])
        self.compose("--profile=observe", "--profile=all", "down", "--volumes", "--remove-orphans")

    def containers(self, service: str | None = None) -> list[Container]:
        """Return the containers of `service`, or all, running or not: a call for each."""
        return self.client.containers.list(all=True, filters=self._of(service), ignore_removed=True)

    def listed(self, service: str | None = None) -> list[dict[str, Any]]:
        """Return what the engine's list says of those that run, in one call."""
        return list(self.client.api.containers(filters=self._of(service)))

    def _of(self, service: str | None) -> dict[str, Any]:
        wanted = {"project": self.project, "service": service}
        return {"label": [f"com.docker.compose.{k}={v}" for k, v in wanted.items() if v]}

    def container(self, service: str) -> Container:
        """Return the one container of `service`."""
        (found,) = self.containers(service)
        return found

    def unhealthy(self) -> list[str]:
        """Return the names of running containers that are not healthy, of those that say so."""
        return [
            str(one["Names"][0]).removeprefix("/")
            for one in self.listed()
            if "(unhealthy)" in one["Status"] or "(health: starting)" in one["Status"]
        ]

    def port(self, service: str, own: int) -> int:
        """Return the port of 127.0.0.1 that leads to the service's `own` one."""
        return published_port(self.container(service), own)

    def postgres(self) -> psycopg.Connection:
        """Connect as a person at psql does: autocommit."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port("postgres", 5432),
            user=USER,
            password=self.postgres_password,
            dbname="minutebook",
            autocommit=True,
        )

    def amqp(self) -> pika.BlockingConnection:
        """Connect as any producer does."""
        login = pika.PlainCredentials(USER, self.rabbitmq_password)
        port = self.port("rabbitmq", 5672)
        return pika.BlockingConnection(
            pika.ConnectionParameters("127.0.0.1", port, credentials=login)
        )

    def queue(self) -> dict[str, Any]:
        """Return what the management page knows of the queue, which may be seconds old."""
        login = base64.b64encode(f"{USER}:{self.rabbitmq_password}".encode()).decode()
        port = self.port("rabbitmq", 15672)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/queues/%2F/{QUEUE}",
            headers={"Authorization": f"Basic {login}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our broker
            return dict(json.loads(answer.read()))

    def messages_ready(self, queue: str = QUEUE) -> int:
        """Return how many messages wait in the queue, not counting what was delivered."""
        with self.amqp() as connection:
            answer = connection.channel().queue_declare(queue, passive=True)
            return int(answer.method.message_count)

    def keydb(self) -> "redis.Redis":
        """Connect to KeyDB; the caller closes it."""
        port = self.port("keydb", 6379)
        return redis.Redis(host="127.0.0.1", port=port, decode_responses=True, protocol=2)

    def metric(self, ingest: Container, name: str) -> float:
        """Return a metric of one of the ingests: `name` with its labels."""
        url = f"http://127.0.0.1:{published_port(ingest, 9101)}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith(f"{name} "):
                    return float(line.rpartition(" ")[2])
        return 0.0

    def logs(self, *, lines: int | Literal["all"] = "all") -> str:
        """Return what all containers have said, or the last `lines` of each."""
        return "\n".join(
            f"--- {one.name}\n{one.logs(tail=lines).decode(errors='replace')}"
            for one in self.containers()
        )

    def secrets_told(self) -> set[str]:
        """Return which of its passwords it shows where: logs, commands, pages."""
        return secrets_exposed.told(self.secrets, self.containers())


def build(client: docker.DockerClient) -> None:
    """Build the image of our programs from this checkout.

    Of several processes that ask at once the first builds it, and the others find it built.
    """
    lock = Path(tempfile.gettempdir()) / f"{BUILDER}.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        builder = Stack(client)
        builder.project = BUILDER
        builder.compose("build", "migrate")


@contextlib.contextmanager
def project(client: docker.DockerClient) -> Iterator[Stack]:
    """Yield a stack that is not up yet; it goes afterwards, and must have told no secret."""
    stack = Stack(client)
    try:
        yield stack
        told = stack.secrets_told()
        assert not told, told
    except BaseException as error:
        error.add_note(stack.logs(lines=LOG_LINES_SHOWN))
        raise
    finally:
        stack.destroy()


def publish(
    stack: Stack, *bodies: bytes, message_ids: Iterable[str] = (), confirmed: bool = True
) -> None:
    """Publish as any producer would; thousands go quicker unconfirmed. Then the broker has all."""
    names: list[str | None] = [*message_ids] or [None] * len(bodies)
    with stack.amqp() as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        if confirmed:
            channel.confirm_delivery()
        for body, name in zip(bodies, names, strict=True):
            properties = pika.BasicProperties(delivery_mode=2, message_id=name)
            channel.basic_publish("", QUEUE, body, properties, mandatory=True)
        channel.close()  # answered after all that went before
