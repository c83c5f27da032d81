"""The stack's servers, reached from outside it, as a person and a producer reach them."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

import pika
import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from demo.failure import EXIT_SETTINGS, EXIT_UNREACHABLE, DemoFailed
from demo.ports import HOST
from demo.stack import Configuration, Container

CONNECT_TIMEOUT_S = 5


@dataclass(frozen=True, repr=False)
class Servers:
    """How to reach the three; passwords are in here."""

    postgres: str
    rabbitmq: str
    keydb: str

    def connect_postgres(self) -> psycopg.Connection:
        """Open a connection in autocommit mode."""
        return psycopg.connect(self.postgres, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)

    def connect_rabbitmq(self) -> pika.BlockingConnection:
        """Open a connection."""
        return pika.BlockingConnection(pika.URLParameters(self.rabbitmq))

    def connect_keydb(self) -> "redis.Redis":
        """Open a connection that decodes replies."""
        return redis.Redis.from_url(self.keydb, decode_responses=True, protocol=2)


def find(configuration: Configuration, containers: list[Container]) -> Servers:
    """Return the stack's servers. Raises `DemoFailed` where the settings name others."""
    # The owner's, not a service's: a person loads providers and transactions.
    dsn = conninfo_to_dict(configuration.setting("migrate", "POSTGRES_DSN"))
    if dsn.get("host") != "postgres":
        raise _not_ours("POSTGRES_DSN", "postgres")
    dsn |= {"host": HOST, "port": port(containers, "postgres", 5432)}
    rabbitmq = _as_producer(configuration, configuration.setting("ingest", "RABBITMQ_URL"))
    keydb = configuration.setting("syncer", "KEYDB_URL")
    return Servers(
        postgres=make_conninfo(**{key: str(value) for key, value in dsn.items()}),
        rabbitmq=_outside(rabbitmq, "RABBITMQ_URL", "rabbitmq", port(containers, "rabbitmq", 5672)),
        keydb=_outside(keydb, "KEYDB_URL", "keydb", port(containers, "keydb", 6379)),
    )


def port(containers: list[Container], service: str, own: int) -> int:
    """Return the port of this machine that leads to a service's `own` one."""
    for container in containers:
        if container.service == service and own in container.ports:
            return container.ports[own]
    raise DemoFailed(f"{service} publishes no port {own}", exit_code=EXIT_UNREACHABLE)


def _as_producer(configuration: Configuration, url: str) -> str:
    login = [configuration.setting("rabbitmq", f"RABBITMQ_{one}") for one in ("USER", "PASSWORD")]
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(
        netloc=f"{':'.join(quote(one, safe='') for one in login)}@{host}"
    ).geturl()


def _outside(url: str, setting: str, service: str, published: int) -> str:
    parts = urlsplit(url)
    if parts.hostname != service:
        raise _not_ours(setting, service)
    login, at, _host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}{at}{HOST}:{published}").geturl()


def _not_ours(setting: str, service: str) -> DemoFailed:
    return DemoFailed(
        f"{setting} leads to a server of your own; the demo writes only to the stack's:"
        f" unset it, or let it name the host '{service}'",
        exit_code=EXIT_SETTINGS,
    )
