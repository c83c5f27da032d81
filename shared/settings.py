"""Settings, one frozen class per resource, from the environment or from files in `SECRETS_DIR`.

A file in `SECRETS_DIR` is named like the setting, in lower case (`postgres_dsn`). No value
appears in `repr`, in a log or in a validation error.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, Secret, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared import addresses
from shared.amqp.delivery_parser import BODY_KEPT_MAX
from shared.shard import SHARD_MEANS, Shard
from shared.transaction_body import Limits

EXIT_USAGE = 2

S = TypeVar("S", bound="Settings")


def _checked(check: Callable[[str], object]) -> AfterValidator:
    """Return a validator of texts and secrets; `check` raises `ValueError`."""

    def checked(value: str | Secret[str]) -> str | Secret[str]:
        check(value if isinstance(value, str) else value.get_secret_value())
        return value

    return AfterValidator(checked)


def _only_with(url: str, schemes: tuple[str, ...]) -> AfterValidator:
    """Return the check that files of TLS are given for a URL that uses it: else they do nothing."""

    def check(path: str, info: ValidationInfo) -> str:
        secret = info.data.get(url)
        if path and secret and secret.get_secret_value().partition(":")[0] not in schemes:
            raise ValueError(f"is set, but {url.upper()} is not of the form {schemes[0]}://")
        return path

    return AfterValidator(check)


READABLE = _checked(addresses.check_readable)
QueueName = Annotated[str, _checked(addresses.check_amqp_name)]
RabbitmqFile = Annotated[str, READABLE, _only_with("rabbitmq_url", ("amqps",))]
KeydbFile = Annotated[str, READABLE, _only_with("keydb_url", ("rediss", "rediss+sentinel"))]
MetricsHost = Annotated[str, _checked(addresses.check_host)]
MetricsPort = Annotated[
    int, Field(ge=0, le=65535, description="port of /metrics, /healthz and /livez; 0: any free one")
]
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - in a container the published port decides who reaches it
CA_FILE = "PEM file of the authorities to trust for {}, instead of the system's"
CERT_FILE = "PEM file of a certificate to show to {}, if it asks for one"
KEY_FILE = "PEM file of that certificate's key"


class Settings(BaseSettings):
    """What all settings have in common: read once, never changed, never echoed."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class ShardSettings(Settings):
    """Which providers a pipeline has."""

    shard: Annotated[str, _checked(Shard.parse)] = Field(default="", description=SHARD_MEANS)

    @property
    def own_shard(self) -> Shard:
        """The same, as what names and checks are made by."""
        return Shard.parse(self.shard)


class PostgresSettings(ShardSettings):
    """Where the truth is kept."""

    postgres_dsn: Annotated[Secret[str], _checked(addresses.check_dsn)] = Field(
        description="PostgreSQL connection string or URL; for TLS it has"
        " sslmode=verify-full and sslrootcert=FILE",
        examples=["postgresql://user:password@postgres:5432/minutebook"],
    )


class DiskSettings(Settings):
    """How large Postgres may become."""

    postgres_disk_gb: float = Field(
        default=0,
        ge=0,
        le=10_000_000,
        description="10^9 bytes of Postgres's disk that the database may take: the disk's size less"
        " the WAL (max_wal_size) and what else is on it; 0: not known, nobody says when it is full",
    )

    @property
    def postgres_disk_bytes(self) -> float | None:
        """The same in bytes; None where it is not known."""
        return self.postgres_disk_gb * 1e9 or None


class RabbitmqSettings(Settings):
    """Where messages and ticks come from."""

    rabbitmq_url: Annotated[Secret[str], _checked(addresses.check_amqp_url)] = Field(
        description="AMQP URL; the virtual host comes last, %2F is the one named /; several hosts,"
        " separated by commas, are tried in random order",
        examples=["amqp://user:password@rabbitmq:5672/%2F"],
    )
    rabbitmq_ca_file: RabbitmqFile = Field(default="", description=CA_FILE.format("amqps://"))
    rabbitmq_cert_file: RabbitmqFile = Field(default="", description=CERT_FILE.format("RabbitMQ"))
    rabbitmq_key_file: RabbitmqFile = Field(default="", description=KEY_FILE)


class SourceNames(ShardSettings):
    """What ingest reads, and by what it knows a message."""

    ingest_queue: QueueName = Field(
        default="incoming_transactions",
        min_length=1,
        description="queue to consume; declared, durable, if there is none",
    )
    ingest_stream: QueueName = Field(
        default="",
        description="a RabbitMQ stream to read instead of the queue, exactly once by its offsets",
    )
    ingest_message_id: str = Field(
        default="property",
        pattern=r"^(property|header:.+|field:.+)$",
        description="where the identity is: property (message_id), header:NAME or, in the body,"
        " field:NAME",
    )

    @property
    def source(self) -> str:
        """The queue or stream that ingest reads."""
        return self.own_shard.name(self.ingest_stream or self.ingest_queue)


class SourceSettings(SourceNames, RabbitmqSettings):
    """The same, and the broker that has it."""


class BodySettings(ShardSettings):
    """How ingest validates a body."""

    ingest_body_max_bytes: int = Field(
        default=65536,
        ge=32,
        le=BODY_KEPT_MAX,
        description="bytes of a body, at most; larger ones are dead letters (too_large)",
    )

    @property
    def body_limits(self) -> Limits:
        """What fits, until Postgres has said what its columns hold."""
        return Limits(self.ingest_body_max_bytes, shard=self.own_shard.split)


class TickSettings(Settings):
    """When ticks are."""

    tick_interval_seconds: int = Field(
        default=60,
        ge=1,
        le=86400,
        description="seconds from boundary to boundary; boundaries are its multiples since 1970",
    )


class KeydbSettings(ShardSettings):
    """Where balances are shown."""

    keydb_url: Annotated[Secret[str], _checked(addresses.check_redis_url)] = Field(
        description="Redis URL of KeyDB; or of Sentinels that know its primary:"
        " redis+sentinel://user:password@host:26379,host:26379/SERVICE/0",
        examples=["redis://keydb:6379/0"],
    )
    keydb_sentinel_password: Secret[str] = Field(
        default=Secret(""),
        description="what the Sentinels themselves want; the URL's login is that of KeyDB",
    )
    keydb_ca_file: KeydbFile = Field(default="", description=CA_FILE.format("rediss://"))
    keydb_cert_file: KeydbFile = Field(default="", description=CERT_FILE.format("KeyDB"))
    keydb_key_file: KeydbFile = Field(default="", description=KEY_FILE)


class LogSettings(Settings):
    """How a service speaks."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least severe log lines shown"
    )
    log_format: Literal["auto", "json", "console"] = Field(
        default="auto", description="json, console, or auto: console where a person is watching"
    )


class TracingSettings(Settings):
    """Whether messages are followed."""

    tracing: Literal["off", "on"] = Field(
        default="off",
        description="on: spans by OpenTelemetry, whose SDK and OTEL_* must be there; a message's"
        " traceparent is kept to the tick that counts it",
    )


class ServiceSettings(LogSettings, TracingSettings):
    """What every service has: its voice and its port."""

    metrics_host: MetricsHost = Field(
        default=ANY_ADDRESS,
        description="address of /metrics, /healthz and /livez: IPv4, IPv6 (:: is both) or a name",
    )
    metrics_port: MetricsPort
    livez_stuck_seconds: float = Field(
        default=120,
        ge=3,
        le=86_400,
        description="seconds after which /livez answers 503 if a thread's loop has not turned; a"
        " wait for a server counts only from its own limit on",
    )


def load(cls: type[S]) -> S:
    """Read `cls` from the environment and `SECRETS_DIR`; exit 2 with one line per bad setting."""
    folder = os.environ.get("SECRETS_DIR")
    sources: dict[str, Any] = {"_secrets_dir": folder} if folder and Path(folder).is_dir() else {}
    try:
        return cls(**sources)
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            name = ".".join(map(str, problem["loc"])).upper()
            sys.stderr.write(f"setting {name}: {problem['msg']}\n")
        raise SystemExit(EXIT_USAGE) from None


def given(name: str) -> bool:
    """Say whether a setting is in the environment, and not empty, or in `SECRETS_DIR`."""
    folder = os.environ.get("SECRETS_DIR")
    return bool(os.environ.get(name)) or bool(folder and (Path(folder) / name.lower()).is_file())
