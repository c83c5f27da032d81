"""RabbitMQ: that it drops nothing. Most of it only the management page knows."""

from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any

from ops import queue_stats
from ops.deployment import DeploymentSettings
from ops.doctor import core, follower_checks, gateway_checks
from ops.doctor.core import Check
from ops.management_page import Page
from shared.amqp import ticks
from shared.errors import Unavailable

SERVER = "rabbitmq"
VERSION_MIN = (3, 12)
LIMITED_SINCE = (4, 0)
"""From this version on quorum queues drop a message after 20 deliveries, unless set otherwise."""
CONSUMER_TIMEOUT_MIN_MS = 60_000
UNLIMITED = -1


def inspect(chosen: DeploymentSettings, followers: Collection[str] = ()) -> Iterator[Check]:
    """Yield all checks; `followers` are those that there are.

    Raises `Unavailable` when the broker itself gives no answer.
    """
    of_ticks = chosen.own_shard.name(ticks.QUEUE)
    stats = queue_stats.inspect(chosen, [chosen.source, of_ticks], name="ops")
    version = _numbers(stats.version)
    yield core.check(
        SERVER,
        "version",
        stats.version,
        fail=version < VERSION_MIN,
        advice="upgrade to RabbitMQ 3.12 or newer",
    )
    for name, state in stats.queues.items():
        yield core.check(
            SERVER,
            f"queue {name}",
            "exists" if state else "missing",
            warn=state is None,
            advice="start ingest and the syncer: they make it",
        )
    if not chosen.rabbitmq_management_url.get_secret_value():
        why = "set RABBITMQ_MANAGEMENT_URL (http://user:password@host:15672) to have it checked"
        yield core.skipped(SERVER, "queue type, delivery limit, alarms", why)
        return
    try:
        page = Page(chosen)
        nodes = page.get("nodes")
        yield from alarms(nodes)
        yield from partitions(nodes)
        if stats.queues[chosen.source] is not None:
            yield from queue(page.queue(chosen.source), version)
        if stats.queues[of_ticks] is not None:
            # Only a warning: if a tick is lost, the next one counts everything.
            found, check = page.queue(of_ticks), f"delivery limit of {of_ticks}"
            yield from delivery_limit(found, version, check, fails=False)
        queues = page.queues(follower_checks.COLUMNS)
        yield from follower_checks.broker(page, queues, followers, chosen.own_shard)
        if "tracker" in followers:  # then the profile gateway is in use
            yield from gateway_checks.broker(page, queues, chosen.own_shard)
        for one in queues:
            if one["name"] in follower_checks.ours(chosen.own_shard):
                check = f"delivery limit of {one['name']}"
                yield from delivery_limit(one, version, check, fails=False)
    except Unavailable as error:
        yield core.skipped(SERVER, "management page", error.detail)


def alarms(nodes: list[Mapping[str, Any]]) -> Iterator[Check]:
    """Assess alarms: while one is on, nobody can publish."""
    ringing = [
        f"{alarm} on {node.get('name')}"
        for node in nodes
        for alarm in ("mem_alarm", "disk_free_alarm")
        if node.get(alarm)
    ]
    yield core.check(
        SERVER,
        "alarms",
        ", ".join(ringing) or "none",
        fail=bool(ringing),
        advice="free memory or disk: until then producers are blocked, and ticks with them",
    )


def partitions(nodes: list[Mapping[str, Any]]) -> Iterator[Check]:
    """Assess whether brokers of a cluster went on by themselves after a cut of the network."""
    apart = [
        f"{node.get('name')} without {', '.join(others)}"
        for node in nodes
        if (others := node.get("partitions"))
    ]
    yield core.check(
        SERVER,
        "network partitions",
        "; ".join(apart) or "none",
        fail=bool(apart),
        advice="restart the broker that is without most others; and let the brokers do that by"
        " themselves: cluster_partition_handling as in docs/ha.md",
    )


def queue(found: Mapping[str, Any], version: tuple[int, ...]) -> Iterator[Check]:
    """Assess the queue of transactions."""
    say = partial(core.check, SERVER)
    name, kind = found["name"], str(found.get("type", "classic"))
    policy: Mapping[str, Any] = found.get("effective_policy_definition") or {}
    arguments: Mapping[str, Any] = found.get("arguments") or {}
    yield say(
        "queue type",
        kind,
        warn=kind == "classic",
        advice="a classic queue lives on one node: lost with its disk; use quorum",
    )
    yield say(
        "durable",
        found.get("durable"),
        fail=not found.get("durable"),
        advice=f"delete {name} and declare it durable: a restart of the broker empties it",
    )
    yield from delivery_limit(found, version, "delivery limit", fails=True)
    for setting in ("message-ttl", "max-length", "max-length-bytes", "expires"):
        value = _argument(arguments, policy, setting)
        if value is not None:
            yield say(
                setting,
                value,
                fail=True,
                advice="take it away: the broker drops messages by it, silently",
            )
    timeout = _argument(arguments, policy, "consumer-timeout")
    yield say(
        "consumer timeout",
        "broker's default (30 min)" if timeout is None else timeout,
        warn=timeout is not None and timeout < CONSUMER_TIMEOUT_MIN_MS,
        advice="raise it to a minute at least: while Postgres is away ingest keeps what it"
        " has received, and is cut off when that takes longer",
    )


def delivery_limit(
    found: Mapping[str, Any], version: tuple[int, ...], check: str, *, fails: bool
) -> Iterator[Check]:
    """Assess after how many deliveries a quorum queue drops a message: `check` fails, or warns."""
    if "effective_policy_definition" not in found:
        why = "the management page does not know the queue's policy yet: again in some seconds"
        yield core.skipped(SERVER, check, why)
    elif found.get("type") == "quorum":
        policy: Mapping[str, Any] = found["effective_policy_definition"] or {}
        limit = _argument(found.get("arguments") or {}, policy, "delivery-limit")
        dropping = limit != UNLIMITED and (limit is not None or version >= LIMITED_SINCE)
        yield core.check(
            SERVER,
            check,
            "broker's default" if limit is None else limit,
            fail=dropping and fails,
            warn=dropping and not fails,
            advice=f"rabbitmqctl set_policy {found['name']} '^{found['name']}$'"
            " '{\"delivery-limit\": -1}' --apply-to queues (an argument of the queue"
            " beats it): otherwise the broker drops a message after as many crashes"
            " of a good consumer",
        )


def _argument(arguments: Mapping[str, Any], policy: Mapping[str, Any], name: str) -> int | None:
    value = arguments.get(f"x-{name}", policy.get(name))
    return value if isinstance(value, int) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(one) for one in version.split(".")[:2] if one.isascii() and one.isdigit())
