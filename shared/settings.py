"""Settings, one frozen class per resource, from the environment or from files in `SECRETS_DIR`.

A file in `SECRETS_DIR` is named like the setting, in lower case (`postgres_dsn`). No value
appears in `repr`, in a log or in a validation error.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, Secret, ValidationError, ValidationInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

EXIT_USAGE = 2

S = TypeVar("S", bound="Settings")


UNVERIFIED_MODES = ("require", "verify-ca")
"""Modes of libpq that encrypt and do not check who answers."""


def _valid_dsn(secret: Secret[str]) -> Secret[str]:
    mode = ""
    try:
        given = conninfo_to_dict(secret.get_secret_value())
        fits = "@" not in str(given.get("host", ""))
        mode = str(given.get("sslmode", ""))
    except ProgrammingError:  # libpq's message quotes the DSN, password and all
        fits = False
    if not fits:  # an @ in the host is half a password, and later errors would show it
        message = "not a PostgreSQL connection string or URL (are all characters encoded?)"
        raise ValueError(message) from None
    if mode in UNVERIFIED_MODES:
        message = f"sslmode={mode} does not check who answers: verify-full, and sslrootcert"
        raise ValueError(message)
    return secret


def _valid_url(*schemes: str) -> AfterValidator:
    def check(secret: Secret[str]) -> Secret[str]:
        try:
            parts = urlsplit(secret.get_secret_value())
            fits = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
            # Half a login makes pika fail where nobody would look for it.
            fits = fits and (not parts.username or parts.password is not None)
        except ValueError:  # its message quotes the URL, password and all
            fits = False
        if not fits:
            message = f"not a URL of the form {schemes[0]}://host (are all characters encoded?)"
            raise ValueError(message) from None
        if _speaks_of_tls(secret.get_secret_value()):
            raise ValueError("says how to do TLS: that is for the settings _CA_FILE and its like")
        return secret

    return AfterValidator(check)


def _speaks_of_tls(url: str) -> bool:
    given = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    return any(name.startswith("ssl") for name, _ in given)


def _readable(path: str) -> str:
    try:
        if path:
            Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    return path


def _only_with(url: str, schemes: tuple[str, ...]) -> AfterValidator:
    """Return the check that files of TLS are given for a URL that uses it: else they do nothing."""

    def check(path: str, info: ValidationInfo) -> str:
        secret = info.data.get(url)
        if path and secret and urlsplit(secret.get_secret_value()).scheme not in schemes:
            raise ValueError(f"is set, but {url.upper()} is not of the form {schemes[0]}://")
        return path

    return AfterValidator(check)


PostgresDsn = Annotated[Secret[str], AfterValidator(_valid_dsn)]
RabbitmqUrl = Annotated[Secret[str], _valid_url("amqp", "amqps")]
KeydbUrl = Annotated[Secret[str], _valid_url("redis", "rediss")]
RabbitmqFile = Annotated[str, AfterValidator(_readable), _only_with("rabbitmq_url", ("amqps",))]
KeydbFile = Annotated[str, AfterValidator(_readable), _only_with("keydb_url", ("rediss",))]
CA_FILE = "PEM file of the authorities to trust for {}, instead of the system's"
CERT_FILE = "PEM file of a certificate to show to {}, if it asks for one"
KEY_FILE = "PEM file of that certificate's key"


class Settings(BaseSettings):
    """What all settings have in common: read once, never changed, never echoed."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class PostgresSettings(Settings):
    """Where the truth is kept."""

    postgres_dsn: PostgresDsn = Field(description="PostgreSQL connection string or URL")


class RabbitmqSettings(Settings):
    """Where messages and ticks come from."""

    rabbitmq_url: RabbitmqUrl = Field(
        description="AMQP URL, e.g. amqp://user:password@host:5672/%2F"
    )
    rabbitmq_ca_file: RabbitmqFile = Field(default="", description=CA_FILE.format("amqps://"))
    rabbitmq_cert_file: RabbitmqFile = Field(default="", description=CERT_FILE.format("RabbitMQ"))
    rabbitmq_key_file: RabbitmqFile = Field(default="", description=KEY_FILE)


class TickSettings(Settings):
    """When ticks are."""

    tick_interval_seconds: int = Field(
        default=60, ge=1, le=86400, description="boundaries are its multiples since the epoch"
    )


class KeydbSettings(Settings):
    """Where balances are shown."""

    keydb_url: KeydbUrl = Field(description="Redis URL of KeyDB, e.g. redis://host:6379/0")
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
        default="off", description="on: spans by OpenTelemetry, and messages' traceparents are kept"
    )


class ServiceSettings(LogSettings, TracingSettings):
    """What every service has: its voice and its port."""

    metrics_host: str = Field(default="0.0.0.0", description="address of /metrics and /healthz")  # noqa: S104 - in a container the published port decides who reaches it
    metrics_port: int = Field(ge=0, le=65535, description="port of /metrics and /healthz")


def load(cls: type[S]) -> S:
    """Read `cls` from the environment and `SECRETS_DIR`; exit 2 with one line per bad setting."""
    folder = os.environ.get("SECRETS_DIR")
    sources: dict[str, Any] = {"_secrets_dir": folder} if folder and Path(folder).is_dir() else {}
    try:
        return cls(**sources)
    except ValidationError as error:
        raise SystemExit(_explain(error)) from None


def describe(cls: type[Settings]) -> str:
    """Return one line per setting of `cls`: its name in the environment, default and meaning."""
    lines = []
    for name, field in cls.model_fields.items():
        default = "required" if field.is_required() else f"default {field.default}"
        lines.append(f"  {name.upper():30} {field.description} ({default})")
    return "\n".join(lines)


def _explain(error: ValidationError) -> int:
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        name = ".".join(str(part) for part in problem["loc"]).upper()
        sys.stderr.write(f"setting {name}: {problem['msg']}\n")
    return EXIT_USAGE
