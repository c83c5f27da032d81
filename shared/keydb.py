"""KeyDB, the only module that knows redis-py. Short timeouts, one retry, one connection.

A retry is safe here because everything we send is either a read or one script that compares
before it sets: sent twice, it answers *done* the second time.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError, ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from shared import addresses, network_errors
from shared.errors import Denied, Refusal, Unavailable
from shared.settings import KeydbSettings

VERSION_MIN = (6, 2)
NEEDED = "KeyDB 6.2, Redis 6.2 or Valkey 7.2"
TIMEOUT_S = 1.0
RETRIES = 1
LIMITS: dict[str, Any] = {
    "protocol": 2,
    "driver_info": None,  # CLIENT SETINFO is newer than KeyDB
    "socket_timeout": TIMEOUT_S,
    "socket_connect_timeout": TIMEOUT_S,
}
CLOSED = "Connection closed by server"
REPLICA = "is a replica, which takes no writes: KEYDB_URL is to lead to the primary"
CLUSTER = "is in cluster mode, where one tick cannot be one script: it must be a single server"
NO_RIGHT = "permits less than the login needs (deploy/keydb/syncer.rules, ops.rules)"
REASONS = {
    "READONLY": REPLICA,
    "MASTERDOWN": "is a replica that has lost its primary",
    "LOADING": "is still reading its data from disk",
    **dict.fromkeys(("CROSSSLOT", "MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"), CLUSTER),
    "MISCONF": "takes no writes, as it cannot save to its disk",
    "OOM": "is full (maxmemory) and takes no writes",
    "NOREPLICAS": "takes no writes, as it has too few replicas (min-replicas-to-write)",
    "NOAUTH": "wants a login, and KEYDB_URL has none",
    "WRONGPASS": "refuses the login",
    "NOPERM": NO_RIGHT,
    "BUSY": "is busy with a script of somebody's (SCRIPT KILL ends it)",
    "UNKILLABLE": "is busy with a script that has written, and cannot be ended",
}
"""What a server that answers, and refuses, says of itself: by the first word of its errors."""
# A script's errors are wrapped by KeyDB and by Redis before 7: the word is behind a hyphen there.
CODE = re.compile(rf"(?:^|-)({'|'.join(REASONS)})\b")
IN_SCRIPT = ("ACL failure in script", "The user executing the script can't")

Client = redis.Redis

log = structlog.get_logger()


@contextlib.contextmanager
def translating(client: Client | None = None) -> Iterator[None]:
    """Turn whatever KeyDB or the network did into `Unavailable`; `Denied` where KeyDB refuses.

    A refused `client` gives its connection up: the next command looks the server's name up again,
    which may lead to another server by then (a primary became a replica, say).
    """
    try:
        yield
    except (RedisError, OSError) as error:
        reason = _refusal(error)
        if reason is None:
            raise Unavailable("keydb", _detail(error)) from error
        if client is None:
            raise Denied("keydb", reason) from error
        client.connection_pool.disconnect()
        raise Denied("keydb", f"{_called(client)} {reason}") from error


@contextlib.contextmanager
def client(settings: KeydbSettings, *, name: str) -> Iterator[Client]:
    """Yield a client of its own for KeyDB; it connects at first use. Closed at the end."""
    url = settings.keydb_url.get_secret_value()
    options: dict[str, Any] = {
        **LIMITS,
        "client_name": f"minutebook-{name}",
        "decode_responses": True,
        "encoding_errors": "surrogateescape",
        "retry": Retry(NoBackoff(), RETRIES),
        "max_connections": 1,
        **_encryption(settings),
    }
    if url.startswith(("redis:", "rediss:")):
        made = redis.Redis.from_url(url, **options)
    else:
        made = _behind_sentinels(addresses.sentinels(url), settings, options)
    try:
        yield made
    finally:
        made.close()


def _behind_sentinels(
    found: addresses.Sentinels, settings: KeydbSettings, options: Mapping[str, Any]
) -> Client:
    """Return a client that asks the Sentinels for the primary at each new connection."""
    encryption = _encryption(settings) | {"ssl": found.encrypted}
    theirs = {**LIMITS, **encryption, "retry": Retry(NoBackoff(), 0), "decode_responses": True}
    if password := settings.keydb_sentinel_password.get_secret_value():
        theirs["password"] = password
    asked: Any = Sentinel([*found.hosts], sentinel_kwargs=theirs)  # type: ignore[no-untyped-call]
    login = {"username": found.username, "password": found.password, "db": found.database}
    made: Client = asked.master_for(found.service, **options, **login, ssl=found.encrypted)
    return made


def _encryption(settings: KeydbSettings) -> dict[str, Any]:
    if not settings.keydb_url.get_secret_value().startswith("rediss"):
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

    Raises `Refusal`, or `Unavailable` when it does not answer or is a replica: that passes.
    """
    with translating(keydb):
        info: dict[str, Any] = keydb.info()
    if version(info) < VERSION_MIN:
        raise Refusal(
            f"KeyDB is version {info['redis_version']}; Minutebook needs {NEEDED}, or newer"
        )
    if info.get("cluster_enabled"):
        raise Refusal(f"KeyDB {CLUSTER}")
    if info.get("redis_mode") == "sentinel":
        raise Refusal("KEYDB_URL leads to a Sentinel: write redis+sentinel://host:26379/SERVICE/0")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise Refusal(f"KeyDB evicts keys (maxmemory-policy {policy}): set it to noeviction")
    if info.get("role") == "active-replica":
        raise Refusal("KeyDB is in active-replica mode, which merges writers: turn it off")
    if info.get("role") in ("slave", "replica"):
        keydb.connection_pool.disconnect()  # its name may lead to the primary soon
        primary = f"{info.get('master_host')}:{info.get('master_port')}"
        raise Denied("keydb", f"{_called(keydb)} {REPLICA} (now {primary})")
    if not info.get("aof_enabled"):
        log.warning(
            "keydb_not_persistent", hint="set appendonly yes; until then a restart empties it"
        )


def version(info: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the release of Redis that a server of its family is like, first two numbers."""
    return tuple(map(int, str(info["redis_version"]).split(".")[:2]))


def wrong_type(error: BaseException) -> bool:
    """Say whether KeyDB refused because a key of ours holds something of another type."""
    cause = error.__cause__ if isinstance(error, Unavailable) else error
    return isinstance(cause, ResponseError) and str(cause).startswith("WRONGTYPE")


def unless_wrong_type(reply: Any) -> Any:  # noqa: ANN401 - whatever the command answers
    """Return one reply of several, or None if the key holds something of another type.

    Raises what the server refused otherwise; the caller translates.
    """
    if isinstance(reply, RedisError) and not wrong_type(reply):
        raise reply
    return None if isinstance(reply, RedisError) else reply


def refused(error: Unavailable) -> bool:
    """Say whether KeyDB answered, and would not: a command that it lacks or does not permit."""
    return isinstance(error.__cause__, ResponseError)


def _refusal(error: Exception) -> str | None:
    """Return why KeyDB refused, with its own text; None if it did not answer."""
    if not isinstance(error, (ResponseError, AuthenticationError, BusyLoadingError)):
        return None
    code = getattr(error, "status_code", None)
    said = str(error)[:200] if code in (None, "ERR") else f"{code} {error}"[:200]
    found = CODE.search(said)
    reason = REASONS[found[1]] if found else "refuses"
    if any(one in said for one in IN_SCRIPT):
        reason = NO_RIGHT
    elif isinstance(error, AuthenticationError) and not found:
        reason = REASONS["WRONGPASS"]
    return f"{reason} ({said})"


def _called(client: Client) -> str:
    """Return where a client's server is and who we are there."""
    pool = client.connection_pool
    given = pool.connection_kwargs
    host, port = given.get("host"), given.get("port")
    if isinstance(pool, SentinelConnectionPool):
        host, port = pool.master_address or (pool.service_name, "?")
    place = f"[{host}]" if ":" in str(host) else host
    user = given.get("username") or "default"
    return f"{place}:{port} (user {user}, database {given.get('db') or 0})"


def _detail(error: Exception) -> str:
    if isinstance(error, MasterNotFoundError):
        # redis-py names the class of what each Sentinel did in its message.
        if AuthenticationError.__name__ in str(error):
            return "a Sentinel refuses KEYDB_SENTINEL_PASSWORD, or wants none"
        return f"{type(error).__name__} (no Sentinel that answers knows a primary that is up)"
    if objection := network_errors.tls_objection(error):
        return objection
    if getattr(error, "status_code", None):  # the server's own text: too many clients, say
        return str(error)[:200]
    if str(error).startswith(CLOSED):
        return f"{type(error).__name__}: closed (at once? then the port wants TLS, rediss://)"
    return network_errors.describe(error)
