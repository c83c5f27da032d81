"""KeyDB: it must not evict, not merge, and come back with what it had."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ops.doctor import core
from ops.doctor.core import Check
from shared import keydb
from shared.errors import Unavailable

SERVER = "keydb"
USED_WARN, USED_FAIL = 0.75, 0.95
CONFIGURED = (
    "maxmemory-policy",
    "maxmemory",
    "appendonly",
    "appendfsync",
    "active-replica",
    "min-replicas-to-write",
)


def inspect(client: keydb.Client) -> Iterator[Check]:
    """Yield all checks. Raises `Unavailable`."""
    with keydb.translating(client):
        info: dict[str, Any] = client.info()
    yield from assess(_configured(client), info)


def assess(named: Mapping[str, str] | None, info: Mapping[str, Any]) -> Iterator[Check]:
    """Assess configuration (None where it may not be read) and what the server says of itself."""
    say = partial(core.check, SERVER)
    yield say(
        "version",
        info["redis_version"],
        fail=keydb.version(info) < keydb.VERSION_MIN,
        advice=f"upgrade to {keydb.NEEDED}: the syncer refuses to start",
    )
    mode = "cluster" if info.get("cluster_enabled") else info.get("redis_mode", "standalone")
    yield say(
        "mode",
        mode,
        fail=mode != "standalone",
        advice="point KEYDB_URL at a single server, not at a cluster (a tick is one script), and"
        " name Sentinels by redis+sentinel://host:26379/SERVICE/0; the syncer refuses to start",
    )
    if named is None:
        yield core.skipped(SERVER, "CONFIG GET", "not permitted here: assessed by INFO alone")
        named = {}
    policy = named.get("maxmemory-policy", str(info.get("maxmemory_policy", "noeviction")))
    yield say(
        "maxmemory-policy",
        policy,
        fail=policy != "noeviction",
        advice="CONFIG SET maxmemory-policy noeviction: a balance that disappears is worse"
        " than a full store; the syncer refuses to start",
    )
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    yield say(
        "maxmemory",
        f"{used:,} of {limit:,} bytes" if limit else "unlimited",
        fail=bool(limit) and used > USED_FAIL * limit,
        warn=bool(limit) and used > USED_WARN * limit,
        advice="raise maxmemory: a full store refuses writes, and KeyDB stays behind",
    )
    kept = named.get("appendonly", "yes" if info.get("aof_enabled") else "no")
    yield say(
        "appendonly",
        kept,
        warn=kept != "yes",
        advice="CONFIG SET appendonly yes: until then a restart empties it, and readers see"
        " nothing until the next tick",
    )
    yield say(
        "appendfsync",
        named.get("appendfsync", "unknown"),
        warn=named.get("appendfsync") == "no",
        advice="CONFIG SET appendfsync everysec: a crash of the machine then shows balances"
        " of a second ago at most, not of minutes ago",
    )
    merging = named.get("active-replica", "no") == "yes" or info.get("role") == "active-replica"
    yield say(
        "active-replica",
        "yes" if merging else "no",
        fail=merging,
        advice="turn it off: it merges writers, and the compare-and-set means nothing",
    )
    role = str(info.get("role", "master"))
    yield say(
        "role",
        role,
        fail=role in ("slave", "replica"),
        advice="point KEYDB_URL at the primary: a replica takes no writes",
    )
    replicas, needed = int(info.get("connected_slaves", 0)), named.get("min-replicas-to-write")
    yield say(
        "min-replicas-to-write",
        f"{needed or 'unknown'}, {replicas} connected",
        warn=replicas > 0 and needed == "0",
        advice="CONFIG SET min-replicas-to-write 1 on each server: a primary that is cut off from"
        " its replicas otherwise takes writes that a failover loses",
    )
    bad = [
        name
        for name in ("aof_last_write_status", "rdb_last_bgsave_status")
        if info.get(name, "ok") != "ok"
    ]
    yield say(
        "last writes to disk",
        ", ".join(bad) or "ok",
        fail=bool(bad),
        advice="is its disk full? It may refuse writes until that is corrected",
    )


def _configured(client: keydb.Client) -> dict[str, str] | None:
    try:
        with keydb.translating(client):
            found: dict[str, str] = {}
            for name in CONFIGURED:
                found.update(
                    {str(key): str(value) for key, value in client.config_get(name).items()}
                )
            return found
    except Unavailable as error:
        if not keydb.refused(error):
            raise
        return None
