"""KeyDB, the only module that knows redis-py. Short timeouts, one retry, one connection.

A retry is safe here because everything we send is either a read or one script that compares
before it sets: sent twice, it answers *done* the second time.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

from shared import tls
from shared.errors import Refusal, Unavailable
from shared.settings import KeydbSettings

VERSION_MIN = (6, 2)
NEEDED = "KeyDB 6.2, Redis 6.2 or Valkey 7.2"
TIMEOUT_S = 1.0
RETRIES = 1
WRONG_TYPE = "WRONGTYPE"
CLOSED = "Connection closed by server"

Client = redis.Redis
Script = Any

log = structlog.get_logger()


@contextlib.contextmanager
def translating() -> Iterator[None]:
    """Turn whatever KeyDB or the network did into `Unavailable`."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise Unavailable("keydb", _detail(error)) from error


@contextlib.contextmanager
def client(settings: KeydbSettings, *, name: str) -> Iterator[Client]:
    """Yield a client of its own for KeyDB; it connects at first use. Closed at the end."""
    made = redis.Redis.from_url(
        settings.keydb_url.get_secret_value(),
        client_name=f"minutebook-{name}",
        decode_responses=True,
        encoding_errors="surrogateescape",
        protocol=2,
        driver_info=None,  # CLIENT SETINFO is newer than KeyDB
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), RETRIES),
        max_connections=1,
        **_encryption(settings),
    )
    try:
        yield made
    finally:
        made.close()


def _encryption(settings: KeydbSettings) -> dict[str, Any]:
    if not settings.keydb_url.get_secret_value().startswith("rediss:"):
        return {}
    # Spelled out: what older versions of redis-py do not check by default is checked here.
    return {
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": settings.keydb_ca_file or None,
        "ssl_certfile": settings.keydb_cert_file or None,
        "ssl_keyfile": settings.keydb_key_file or None,
    }


def check_server(keydb: Client) -> None:
    """Refuse a KeyDB that is too old, or would lose or merge what we write.

    Warns about one without persistence.

    Raises `Refusal`, or `Unavailable` when it does not answer.
    """
    with translating():
        info: dict[str, Any] = keydb.info()
    if version(info) < VERSION_MIN:
        raise Refusal(
            f"KeyDB is version {info['redis_version']}; Minutebook needs {NEEDED}, or newer"
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise Refusal(f"KeyDB evicts keys (maxmemory-policy {policy}): set it to noeviction")
    if info.get("role") == "active-replica":
        raise Refusal("KeyDB is in active-replica mode, which merges writers: turn it off")
    if not info.get("aof_enabled"):
        log.warning(
            "keydb_not_persistent", hint="set appendonly yes; until then a restart empties it"
        )


def version(info: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the release of Redis that a server of its family is like, first two numbers."""
    return tuple(map(int, str(info["redis_version"]).split(".")[:2]))


def wrong_type(error: Unavailable) -> bool:
    """Say whether KeyDB refused because a key of ours holds something of another type."""
    cause = error.__cause__
    return isinstance(cause, ResponseError) and str(cause).startswith(WRONG_TYPE)


def unless_wrong_type(reply: Any) -> Any:  # noqa: ANN401 - whatever the command answers
    """Return one reply of several, or None if the key holds something of another type.

    Raises what the server refused otherwise; the caller translates.
    """
    if not isinstance(reply, RedisError):
        return reply
    if isinstance(reply, ResponseError) and str(reply).startswith(WRONG_TYPE):
        return None
    raise reply


def refused(error: Unavailable) -> bool:
    """Say whether KeyDB answered, and would not: a command that it lacks or does not permit."""
    return isinstance(error.__cause__, ResponseError)


def _detail(error: Exception) -> str:
    if isinstance(error, ResponseError):
        return str(error)[:200]
    if objection := tls.words(error):
        return objection
    if str(error).startswith(CLOSED):
        return f"{type(error).__name__}: closed (at once? then the port wants TLS, rediss://)"
    return type(error).__name__
