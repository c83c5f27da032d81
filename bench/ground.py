"""What every turn starts from: a fresh database, a fresh queue, the same providers, the messages.

Servers are those of the tests: the images of compose.yaml; Postgres has compose's settings and
memory limit, too, unless others are given. Commits are durable (fsync and synchronous_commit on).
All of it runs on this machine, next to what is measured: figures of one run compare with each other
and with nothing else.
"""

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pika
import psycopg

from shared.unique_ids import time_ordered
from tests.support import servers

ROOT = Path(__file__).parents[1]
QUEUE = "incoming_transactions"
PROVIDERS = 100
PUBLISHED_TIMEOUT_S = 120.0
IDENTITIES: dict[str, Callable[[], object]] = {"random": uuid.uuid4, "time-ordered": time_ordered}
"""Kinds of identities: UUIDs of version 4 and of version 7."""

Message = tuple[bytes, str]
"""Body and message_id."""


@dataclass(frozen=True)
class Site:
    """The servers of a run."""

    postgres: servers.Postgres
    rabbitmq: servers.Rabbitmq
    keydb: servers.Keydb


@dataclass(frozen=True)
class Ground:
    """A turn's own database and virtual host, and KeyDB emptied for it.

    `checkout` holds the code whose migrations made the database and whose services run on it;
    `identities` is the kind that published messages have.
    """

    dsn: str
    amqp_url: str
    keydb_url: str
    checkout: Path = ROOT
    identities: str = "random"


def compose_defaults() -> tuple[str, str]:
    """Return compose's options for Postgres's command line, and its memory limit."""
    text = (ROOT / "compose.yaml").read_text()
    text = re.sub(r"\$\{\w+:-([^${}]*)\}", r"\1", text)
    begin = text.index("postgres -c ")
    command, _, rest = text[begin:].partition("shm_size:")
    limit = re.search(r"mem_limit: (\S+)", rest)
    return " ".join(command.split()[1:]), limit[1] if limit else ""


@contextlib.contextmanager
def site(options: str | None = None, memory: str | None = None) -> Iterator[Site]:
    """Start the servers; they are gone afterwards. Raises `docker.errors.DockerException`.

    `options` of Postgres's command line and its `memory` are compose's, unless given.
    """
    usual_options, usual_memory = compose_defaults()
    client = docker.from_env()
    client.ping()
    # The engine's port proxy copies every byte once more, on the same cores.
    direct = sys.platform == "linux"
    with (
        servers.postgres(
            client,
            direct=direct,
            options_more=usual_options if options is None else options,
            memory=memory or usual_memory,
        ) as postgres,
        servers.rabbitmq(client, direct=direct) as rabbitmq,
        servers.keydb(client, direct=direct) as keydb,
    ):
        yield Site(postgres, rabbitmq, keydb)


@contextlib.contextmanager
def ground(
    site: Site,
    *,
    queue_type: str = "quorum",
    providers: int = PROVIDERS,
    checkout: Path = ROOT,
    identities: str = "random",
) -> Iterator[Ground]:
    """Make a migrated database and a virtual host with an empty queue."""
    with _database(site, checkout) as dsn, site.rabbitmq.vhost(queue_type=queue_type) as url:
        with site.keydb.client() as keydb:
            keydb.flushall()
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(
                "INSERT INTO initial_data (id, provider_name, initial_value)"
                " SELECT n, 'Provider ' || n, 0 FROM generate_series(1, %s) AS n",
                [providers],
            )
            conn.execute("VACUUM ANALYZE initial_data")
            conn.execute("CHECKPOINT")
        yield Ground(dsn, url, site.keydb.url(), checkout, identities)


@contextlib.contextmanager
def _database(site: Site, checkout: Path) -> Iterator[str]:
    if checkout == ROOT:
        with site.postgres.database() as dsn:
            yield dsn
        return
    with site.postgres.database("template0") as dsn:
        subprocess.run(
            [sys.executable, "-m", "migrations"],
            cwd=checkout,
            env={**os.environ, "POSTGRES_DSN": dsn},
            check=True,
            capture_output=True,
        )
        yield dsn


def ordinary(
    count: int, providers: int = PROVIDERS, identities: str = "random"
) -> Iterator[Message]:
    """Yield good messages: 24-byte bodies, ids spread over the providers, uuids as identities."""
    identity = IDENTITIES[identities]
    chance = random.Random(count)
    for _ in range(count):
        body = {"id": chance.randint(10, providers - 1), "value": chance.randint(100, 999)}
        yield json.dumps(body).encode(), str(identity())


def publish(ground: Ground, messages: Iterable[Message]) -> int:
    """Publish persistent messages as fast as pika can; returns how many, once all are in the queue.

    Without confirms: the broker's count says whether all have arrived.
    """
    count = 0
    with contextlib.closing(
        pika.BlockingConnection(pika.URLParameters(ground.amqp_url))
    ) as connection:
        channel = connection.channel()
        channel.queue_declare(QUEUE, durable=True)
        for body, identity in messages:
            properties = pika.BasicProperties(delivery_mode=2, message_id=identity)
            channel.basic_publish("", QUEUE, body, properties)
            count += 1
        deadline = time.monotonic() + PUBLISHED_TIMEOUT_S
        while channel.queue_declare(QUEUE, passive=True).method.message_count < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} messages were published, the queue holds fewer")
            connection.sleep(0.1)
    return count
