"""Followers: whether they go on, and whether what is behind them can stop the ticker.

A queue that nobody reads fills the broker's disk, and the broker's alarm stops all who publish.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import psycopg

from ops.doctor import core
from ops.doctor.core import Check
from ops.followers import store
from ops.followers.store import Follower
from ops.management_page import Page
from ops.wording import age, count
from shared.errors import Unavailable
from shared.shard import ONLY, Shard

SERVER = "rabbitmq"
EXCHANGES = {"feed": "changes", "notifier": "notifications"}
"""The topic exchange that each follower publishes to."""
PERIPHERAL_QUEUES = re.compile(
    r"(alerts|prices|requests)([.][0-9]+)?|(changes|notifications|replies)[.].+|sightings.*"
)
"""Queues around the core, as the policies that we ship name them."""
POSITION = "follower "
"""What the name of a check begins with that is about one."""
OURS = ("alerts", "notifications.delivered", "prices", "requests", "sightings")
"""Queues that services around the core read."""
BEHIND_MAX_S = 300.0
BOUND = (
    "name it changes.… or notifications.…, which our policies bound (deploy/README.md), or"
    " rabbitmqctl set_policy its-bound '^({})$' '{{\"max-length-bytes\": 1073741824}}'"
    " --apply-to queues: once its consumer is gone it fills the broker's disk, whose alarm"
    " stops the ticker"
)
COLUMNS = "name,arguments,effective_policy_definition,type"


def positions(conn: psycopg.Connection) -> Iterator[Check]:
    """Ask where each follower stands, and assess."""
    for one in store.everyone(conn):
        yield assess(one)


def assess(one: Follower) -> Check:
    """Assess one follower."""
    behind = f"{count(one.lag_ticks, 'tick')} behind, for {age(one.lag_s)}"
    late = one.lag_s > BEHIND_MAX_S
    return core.check(
        "postgres",
        f"{POSITION}{one.name}",
        one.error or (behind if one.lag_ticks else "up to date"),
        warn=bool(one.error) or late,
        advice=f"see its log; if it is not wanted any more, stop it and: ops followers forget"
        f" {one.name}",
    )


def named(checks: Collection[Check]) -> list[str]:
    """Return the names of the followers that these checks are about."""
    return [one.name.removeprefix(POSITION) for one in checks if one.name.startswith(POSITION)]


def ours(shard: Shard) -> set[str]:
    """Return what the queues are called that services around the core read."""
    return {one if one == "sightings" else shard.name(one) for one in OURS}


def broker(
    page: Page,
    queues: Sequence[Mapping[str, Any]],
    followers: Collection[str],
    shard: Shard = ONLY,
) -> Iterator[Check]:
    """Look at the exchanges of these `followers`, and at those `queues` that are around the core.

    `queues` are all of the virtual host, with `COLUMNS`.
    """
    bound: set[str] = set()
    for name, called in EXCHANGES.items():
        exchange = shard.name(called)
        try:
            bound |= set(page.bound(exchange))
            found = "exists"
        except Unavailable:  # as for any exchange that is not there
            found = "missing"
        if name in followers:
            yield core.check(
                SERVER,
                f"exchange {exchange}",
                found,
                warn=found == "missing",
                advice=f"restart {name}: it makes it; whoever had bound a queue has to do so again",
            )
    yield from bounds([one for one in queues if one["name"] in bound or _is_around(one)])


def bounds(queues: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """Assess queues around the core: each must have a bound."""
    known = [one for one in queues if "effective_policy_definition" in one]
    say = partial(core.check, SERVER)
    unbounded = sorted(one["name"] for one in known if not _is_bounded(one))
    if known:
        shown = ", ".join(unbounded)
        yield say(
            "queues around the core",
            f"without a bound: {shown}" if unbounded else "all have a bound",
            warn=bool(unbounded),
            advice=BOUND.format("|".join(map(re.escape, unbounded))),
        )
    if len(known) < len(queues):
        why = "the management page does not know their policies yet: again in some seconds"
        yield core.skipped(SERVER, "some queues around the core", why)


def _is_around(queue: Mapping[str, Any]) -> bool:
    return PERIPHERAL_QUEUES.fullmatch(queue["name"]) is not None


def _is_bounded(queue: Mapping[str, Any]) -> bool:
    arguments: Mapping[str, Any] = queue.get("arguments") or {}
    policy: Mapping[str, Any] = queue["effective_policy_definition"] or {}
    limits = ("max-length", "max-length-bytes")
    return any(arguments.get(f"x-{one}", policy.get(one)) is not None for one in limits)
