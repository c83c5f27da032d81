"""The gateway's exchange, and the queues that it leads to.

The gateway may not make them: a broker that lacks one takes nothing of what is meant for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ops.doctor import core
from ops.doctor.core import Check
from ops.management_page import Page
from shared.errors import Unavailable
from shared.request_message import EXCHANGE
from shared.shard import ONLY, Shard

SERVER = "rabbitmq"
QUEUES = ("requests", "sightings", "alerts")
"""Each is bound by its name."""
REFUSING = "reject-publish"
ADVICE = (
    "docker compose restart rabbitmq: our broker makes it at its start; another broker: deploy/"
    "README.md, The broker's users. Until then the gateway answers 503 to what is meant for it"
)


def broker(page: Page, queues: Sequence[Mapping[str, Any]], shard: Shard = ONLY) -> Iterator[Check]:
    """Look at exchange, bindings and policies; `queues` are all of the virtual host."""
    try:
        bound = page.bound(EXCHANGE)
    except Unavailable:  # as for any exchange that is not there
        yield core.check(SERVER, f"exchange {EXCHANGE}", "missing", warn=True, advice=ADVICE)
        return
    yield core.check(SERVER, f"exchange {EXCHANGE}", "exists", advice=ADVICE)
    names = [one if one == "sightings" else shard.name(one) for one in QUEUES]
    yield bindings(bound, names)
    yield from policies(queues, names)


def bindings(bound: Mapping[str, str], names: Sequence[str] = QUEUES) -> Check:
    """Assess which queues the exchange leads to, and by which routing keys."""
    missing = [one for one in names if bound.get(one) != one]
    return core.check(
        SERVER,
        f"bindings of exchange {EXCHANGE}",
        f"none to {', '.join(missing)}" if missing else "all there",
        warn=bool(missing),
        advice=ADVICE,
    )


def policies(queues: Sequence[Mapping[str, Any]], names: Sequence[str] = QUEUES) -> Iterator[Check]:
    """Assess whether a queue that is full refuses: another one drops what was answered with 202."""
    for one in queues:
        if one["name"] not in names or "effective_policy_definition" not in one:
            continue
        arguments: Mapping[str, Any] = one.get("arguments") or {}
        policy: Mapping[str, Any] = one["effective_policy_definition"] or {}
        overflow = arguments.get("x-overflow", policy.get("overflow", "drop-head"))
        yield core.check(
            SERVER,
            f"overflow of {one['name']}",
            overflow,
            warn=overflow != REFUSING,
            advice=f"set the policy minutebook-bounded (deploy/README.md): with {overflow} a queue"
            " that is full drops requests that were accepted",
        )
