"""Where a service can be reached from outside just now: its port changes whenever it is started.

A server may be a cluster (`deploy/ha`): its members are called like it, with -2 and -3.
"""

import random
import re
from typing import Literal

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import Unavailable
from tests.support.stack import USER, Stack

Server = Literal["postgres", "rabbitmq", "keydb"]
SENTINEL_PORT = 26379
ASK_WITHIN_S = 1.0


def port(stack: Stack, service: Server, own: int) -> int:
    """Return a port of 127.0.0.1 that leads to the server's `own`. Raises `Unavailable`."""
    return _some(members(stack, service, own), service)[0]


def ports(stack: Stack, service: str, own: int) -> list[int]:
    """Return the ports that lead to all of the service's replicas."""
    return [one for _, one in _published(stack, own, service)]


def members(stack: Stack, server: str, own: int) -> list[int]:
    """Return the ports that lead to all members of a cluster that run; of a single server, one."""
    wanted = re.compile(rf"{server}(-[0-9])?")
    return [one for name, one in _published(stack, own) if wanted.fullmatch(name)]


def keydb_port(stack: Stack) -> int:
    """Return the port of the KeyDB to read and write: of a cluster, the one that Sentinels name.

    Raises `Unavailable`.
    """
    sentinels = members(stack, "sentinel", SENTINEL_PORT)
    # Without them it is that of compose.yaml: others of a cluster that begins are empty still.
    primary = keydb_primary(sentinels) if sentinels else "keydb"
    return _some(ports(stack, primary, 6379), "keydb")[0]


def keydb_primary(sentinels: list[int]) -> str:
    """Return what service is the primary, as the first Sentinel says that answers.

    Raises `Unavailable`.
    """
    for one in random.sample(sentinels, len(sentinels)):
        try:
            with redis.Redis(
                "127.0.0.1",
                one,
                decode_responses=True,
                protocol=2,
                socket_timeout=ASK_WITHIN_S,
                socket_connect_timeout=ASK_WITHIN_S,
                retry=Retry(NoBackoff(), 0),
            ) as sentinel:
                found = sentinel.execute_command(
                    "SENTINEL", "GET-MASTER-ADDR-BY-NAME", "minutebook"
                )
        except redis.exceptions.RedisError:
            continue
        return str(found[0])
    raise Unavailable("keydb", "no Sentinel answers")


def postgres_dsn(stack: Stack, application: str) -> str:
    """Return the DSN of a person at psql who does not wait without limit. Raises `Unavailable`."""
    found = _some(members(stack, "postgres", 5432), "postgres")
    hosts, listed = ",".join("127.0.0.1" for _ in found), ",".join(map(str, found))
    return (
        f"host={hosts} port={listed} user={USER} dbname=minutebook target_session_attrs=read-write"
        f" password={stack.postgres_password} application_name={application} connect_timeout=5"
        " options='-c statement_timeout=20s -c lock_timeout=5s'"
    )


def amqp_url(stack: Stack) -> str:
    """Return the broker's URL as a producer has it. Raises `Unavailable`."""
    found = _some(members(stack, "rabbitmq", 5672), "rabbitmq")
    hosts = ",".join(f"127.0.0.1:{one}" for one in found)
    return f"amqp://{USER}:{stack.rabbitmq_password}@{hosts}/%2F"


def _published(stack: Stack, own: int, service: str | None = None) -> list[tuple[str, int]]:
    """Return services, or one, and ports of this machine that lead to their `own`."""
    return [
        (one["Labels"]["com.docker.compose.service"], int(binding["PublicPort"]))
        for one in stack.listed(service)
        for binding in one["Ports"]
        if binding["PrivatePort"] == own and binding.get("PublicPort")
    ]


def _some(found: list[int], server: Server) -> list[int]:
    if not found:
        raise Unavailable(server, "has no port at the moment")
    return found
