"""One Postgres, one RabbitMQ, one of each kind of KeyDB per run, and what a test needs of each."""

import base64
import contextlib
import json
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import docker
import psycopg
import pytest
import redis
from psycopg import sql

from migrations import runner
from tests.support import keydb_rights
from tests.support.containers import ROOT, address, published_port, running
from tests.support.readiness import LOCAL, await_broker, await_keydb, await_postgres

USER, PASSWORD = "user", "password"
BROKER_USERS = (
    "ingest", "ticker", "syncer", "feed", "notifier", "gateway", "tracker", "observer",
    "console", "ops",
)  # fmt: skip
"""The services' own on the broker, with their rights in its virtual host "/" only."""
TEMPLATE = "template_migrated"
POSTGRES_COMMAND = "postgres -c max_prepared_transactions=10 -c max_connections=200"
KEYDB_KINDS = {"keydb": "KEYDB_IMAGE", "redis": "REDIS_IMAGE"}
"""Servers of KeyDB's family, and the setting that names the image of each."""

on_both_stores = pytest.mark.parametrize("keydb_server", list(KEYDB_KINDS), indirect=True)
"""Marks what is to hold on every server of the family."""


@dataclass(frozen=True)
class Postgres:
    """A server; `dsn(name)` leads to one of its databases, `address` is for other containers."""

    port: int
    address: str
    host: str = LOCAL

    def dsn(self, database: str) -> str:
        """Return a connection URL."""
        return f"postgresql://{USER}:{PASSWORD}@{self.host}:{self.port}/{database}"

    @contextlib.contextmanager
    def database(self, template: str = TEMPLATE) -> Iterator[str]:
        """Make a database from `template` (`template0`: an empty one); yields its DSN."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as admin:
            admin.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
        try:
            yield self.dsn(name)
        finally:
            with psycopg.connect(self.dsn("postgres"), autocommit=True) as admin:
                for (gid,) in admin.execute(
                    "SELECT gid FROM pg_prepared_xacts WHERE database = %s", [name]
                ).fetchall():
                    with psycopg.connect(self.dsn(name), autocommit=True) as conn:
                        conn.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True)
class Rabbitmq:
    """A broker and its management page."""

    port: int
    management_port: int
    host: str = LOCAL

    def url(self, vhost: str, *, user: str = USER) -> str:
        """Return an AMQP URL."""
        return f"amqp://{user}:{PASSWORD}@{self.host}:{self.port}/{quote(vhost, safe='')}"

    def manage(
        self, method: str, path: str, body: dict[str, Any] | None = None, *, user: str = USER
    ) -> Any:
        """Call the management page's API; returns its JSON, or None."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.management_port}/api/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
        )
        login = base64.b64encode(f"{user}:{PASSWORD}".encode()).decode()
        request.add_header("Authorization", f"Basic {login}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    @contextlib.contextmanager
    def vhost(self, *, queue_type: str = "quorum") -> Iterator[str]:
        """Make a virtual host, hence queues and exchanges of one's own; yields its AMQP URL."""
        name = f"test-{uuid.uuid4().hex}"
        self.manage("PUT", f"vhosts/{name}", {"default_queue_type": queue_type})
        self.manage(
            "PUT",
            f"permissions/{name}/{USER}",
            {"configure": ".*", "write": ".*", "read": ".*"},
        )
        try:
            yield self.url(name)
        finally:
            self.manage("DELETE", f"vhosts/{name}")


@dataclass(frozen=True)
class Keydb:
    """A store. Our services are a user who may do no more than the checked list of commands."""

    port: int
    kind: str = "keydb"
    host: str = LOCAL

    def url(self, user: str = keydb_rights.USER) -> str:
        """Return a Redis URL for our services, or for another user of ours."""
        return f"redis://{user}:{keydb_rights.PASSWORD}@{self.host}:{self.port}/0"

    def client(self, **options: Any) -> "redis.Redis":
        """Return a client that may do anything and decodes replies; the caller closes it."""
        usual: dict[str, Any] = {"decode_responses": True, "protocol": 2}
        return redis.Redis(self.host, self.port, **(usual | options))


@contextlib.contextmanager
def postgres(
    client: docker.DockerClient,
    *,
    direct: bool = False,
    in_memory: bool = False,
    options_more: str = "",
    memory: str | None = None,
) -> Iterator[Postgres]:
    """Start Postgres and migrate the template that tests copy.

    `direct`: reached by its own address, as in compose, not through the engine's port proxy.
    `in_memory`: its data is gone with the container, and no test waits for a disk.
    `options_more` are further options of the server's command line; `memory` is the container's
    limit, as "2g".
    """
    options: dict[str, Any] = {
        "environment": {"POSTGRES_USER": USER, "POSTGRES_PASSWORD": PASSWORD},
        "command": f"{POSTGRES_COMMAND} {options_more}".split(),
        "ports": {"5432/tcp": ("127.0.0.1", None)},
        "shm_size": "256m",
        "mem_limit": memory,
    }
    if in_memory:
        options["tmpfs"] = {"/var/lib/postgresql/data": ""}
    with running(client, "POSTGRES_IMAGE", **options) as container:
        port = published_port(container, 5432)
        own = address(container)
        server = Postgres(5432, own, own) if direct else Postgres(port, own)
        await_postgres(server.dsn("postgres"))
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 ENCODING 'UTF8'")
        with psycopg.connect(server.dsn(TEMPLATE), autocommit=True) as conn:
            runner.apply(conn, runner.read())
        yield server


def rabbitmq_options() -> dict[str, Any]:
    """Return how RabbitMQ is run: as compose does it."""
    folder = ROOT / "deploy" / "rabbitmq"
    return {
        "entrypoint": ["bash", "/opt/minutebook/start.sh"],
        "environment": {
            "RABBITMQ_USER": USER,
            "RABBITMQ_PASSWORD": PASSWORD,
            **{f"RABBITMQ_{one.upper()}_PASSWORD": PASSWORD for one in BROKER_USERS},
            "INGEST_QUEUE": "incoming_transactions",
            # As large as RabbitMQ 3.12 takes them; 4 takes 16 MiB by default.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +sbwtdcpu none +sbwtdio none"
            f" -rabbit max_message_size {128 * 2**20}",
        },
        "ports": {"5672/tcp": ("127.0.0.1", None), "15672/tcp": ("127.0.0.1", None)},
        "volumes": {
            str(folder): {"bind": "/opt/minutebook", "mode": "ro"},
            str(folder / "90-minutebook.conf"): {
                "bind": "/etc/rabbitmq/conf.d/90-minutebook.conf",
                "mode": "ro",
            },
        },
    }


@contextlib.contextmanager
def rabbitmq(
    client: docker.DockerClient, *, direct: bool = False, in_memory: bool = False
) -> Iterator[Rabbitmq]:
    """Start RabbitMQ as compose does: our start script, definitions and configuration.

    `in_memory`: as of Postgres.
    """
    options = rabbitmq_options()
    if in_memory:
        options["tmpfs"] = {"/var/lib/rabbitmq": ""}
    with running(client, "RABBITMQ_IMAGE", **options) as container:
        port = published_port(container, 5672)
        management = published_port(container, 15672)
        await_broker(container)
        where = (5672, management, address(container)) if direct else (port, management)
        yield Rabbitmq(*where)


@contextlib.contextmanager
def keydb(
    client: docker.DockerClient, kind: str = "keydb", *, direct: bool = False
) -> Iterator[Keydb]:
    """Start a server of the family with the options that compose gives KeyDB, and our user."""
    options = {
        "command": f"{kind}-server --bind 0.0.0.0 --protected-mode no --dir /data --appendonly yes"
        f" --maxmemory-policy noeviction --user {keydb_rights.USER} {' '.join(keydb_rights.RULES)}"
        f" --user {keydb_rights.OPERATOR} {' '.join(keydb_rights.OPERATORS_RULES)}"
        f" --user {keydb_rights.OBSERVER} {' '.join(keydb_rights.OBSERVERS_RULES)}",
        "ports": {"6379/tcp": ("127.0.0.1", None)},
    }
    with running(client, KEYDB_KINDS[kind], **options) as container:
        port = published_port(container, 6379)
        server = Keydb(6379, kind, address(container)) if direct else Keydb(port, kind)
        await_keydb(server.client())
        yield server
