"""Where the servers are: the services' own settings, each command loading only what it needs."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Literal
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, Secret

from shared import addresses, postgres, settings
from shared.health import Turn
from shared.shard import EXCHANGE, Shard

PERIPHERAL_SERVICES = frozenset({"feed", "notifier", "tracker", "gateway", "observer", "console"})
"""Services that the core does without: each has a compose profile of its name, the tracker that of
the gateway."""
OURS = frozenset({"ingest", "ticker", "syncer"}) | PERIPHERAL_SERVICES


def host_and_port(text: str) -> tuple[str, int]:
    """Return what `NAME:PORT` or `[IPv6]:PORT` says. Raises `ValueError`."""
    name, _, port = text.rpartition(":")
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name
    fits = addresses.is_host(bare) and (":" in bare) == (bare != name)
    if not (fits and addresses.is_port(port)):
        raise ValueError("not of the form NAME:PORT, separated by spaces")
    return bare, int(port)


def _valid_addresses(text: str) -> str:
    for one in text.split():
        host_and_port(one)
    return text


def _valid_management_url(secret: Secret[str]) -> Secret[str]:
    url = secret.get_secret_value()
    try:
        fits = not url or not addresses.check_url(url, "http", "https").query
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("not a URL of the form http://user:password@host:15672")
    return secret


class QueueSettings(settings.SourceSettings):
    """Where messages go to and ingest takes them from, and by what it knows them."""

    @property
    def identity_header(self) -> str:
        """The header that carries it, if one does."""
        return self._named("header")

    @property
    def identity_field(self) -> str:
        """The field of the body that has it, if one has."""
        return self._named("field")

    @property
    def target(self) -> str:
        """What messages are published to, as text for people."""
        return f"exchange {EXCHANGE}" if self.own_shard.split else self.source

    def sources(self) -> Iterator[tuple[str, str]]:
        """Yield the queue of each shard, and the routing key that leads to it, if there are any."""
        shard, name = self.own_shard, self.ingest_stream or self.ingest_queue
        for number in range(shard.count):
            yield Shard(number, shard.count).name(name), shard.route(number)

    def _named(self, place: str) -> str:
        kind, _, name = self.ingest_message_id.partition(":")
        return name if kind == place else ""


class PlaceSettings(settings.Settings):
    """Where we run ourselves."""

    ops_deployment: Literal["plain", "compose"] = Field(
        default="plain",
        description="compose: the tool runs in a container of compose.yaml",
    )

    @property
    def in_compose(self) -> bool:
        """Whether we are a container that compose started, and will be gone."""
        return self.ops_deployment == "compose"


class DeploymentSettings(
    PlaceSettings,
    QueueSettings,
    settings.PostgresSettings,
    settings.DiskSettings,
    settings.KeydbSettings,
    settings.TickSettings,
):
    """All three servers, and what is to be expected of them."""

    rabbitmq_management_url: Annotated[Secret[str], AfterValidator(_valid_management_url)] = Field(
        default=Secret(""),
        description="the broker's management page, for `ops doctor` and `status`; empty: not asked",
        examples=["http://ops:password@rabbitmq:15672"],
    )
    ops_services: Annotated[str, AfterValidator(_valid_addresses)] = Field(
        default="",
        description="NAME:PORT or [IPv6]:PORT of each service's /healthz, separated by spaces, for"
        " `ops status`; every address of a name is asked; empty: none",
    )

    @property
    def composed(self) -> frozenset[str]:
        """Names of the programs that compose runs: ours, and each server that is called so."""
        if not self.in_compose:
            return frozenset()
        hosts = {
            "postgres": str(conninfo_to_dict(self.postgres_dsn.get_secret_value()).get("host")),
            "rabbitmq": urlsplit(self.rabbitmq_url.get_secret_value()).hostname,
            "keydb": urlsplit(self.keydb_url.get_secret_value()).hostname,
        }
        return OURS | {name for name, host in hosts.items() if host == name}

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where our services can be asked how they are: names and ports."""
        return [host_and_port(one) for one in self.ops_services.split()]


class OperatorSettings(settings.Settings):
    """Who the operator is."""

    ops_operator: str = Field(
        default="",
        max_length=255,
        description="your name, written beside what you change; empty: the login name",
    )

    @property
    def operator(self) -> str:
        """Who to write beside a change: as set, or the login name, or the user's number."""
        return self.ops_operator or f"{_login()}@{socket.gethostname()}"


@contextmanager
def postgres_connection(
    chosen: settings.PostgresSettings, *, options: str = "", turn: Turn | None = None
) -> Iterator[psycopg.Connection]:
    """Open Postgres and check its schema. Raises `Unavailable`, and `Refusal` if it is too old.

    With `turn`, which is told of each wait, every wait has a limit on our side.
    """
    with postgres.connection(chosen, application="ops", options=options, turn=turn) as conn:
        postgres.check_schema(conn)
        yield conn


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has a number and no name
        return f"uid-{os.getuid()}"
