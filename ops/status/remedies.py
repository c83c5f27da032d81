"""What to type next: by the words of a reason, by how a service is silent, by what comes first.

Pure: what was seen comes in.
"""

from ops.status import steps
from ops.status.snapshot import Down, Seen, Service
from shared.amqp.connection import BLOCKED

WRONG_LOGIN = "docs/runbook.md, Rotate credentials: the login has another password than the setting"
SERVERS = {"postgres": "Postgres", "rabbitmq": "RabbitMQ", "keydb": "KeyDB"}
FREE = {
    "53100": ("free space on Postgres's disk", "postgres", "df -h"),
    BLOCKED: ("free memory or disk of RabbitMQ", "rabbitmq", "rabbitmq-diagnostics alarms"),
}
"""What to free where a reason holds these words, and the server and command that show how full."""
REMEDIES = {
    "is read-only": "ops doctor   (transaction_read_only: a replica, or set so)",
    "password authentication failed": WRONG_LOGIN,
    "refuses the login": WRONG_LOGIN,
}
"""What to do where a reason holds these words: SQLSTATEs, and what servers say of themselves."""


def waking(seen: Seen, one: Service, said: str) -> str:
    """Return what to type about a service that is unhealthy, or silent; `said` is all it said."""
    if one.error:
        return steps.wake(seen, one)
    blamed = [name for name in SERVERS if f"{name}: " in said]
    follows = not blamed or any(isinstance(getattr(seen, name), Down) for name in blamed)
    return (follows and first(seen)) or steps.logs(seen, steps.called(one))


def rousing(seen: Seen, name: str) -> str:
    """Return how a service that is missed is woken, if it was asked and does not answer."""
    silent = [one for one in seen.services if one.name == name and one.error]
    return waking(seen, silent[0], silent[0].error) if silent else ""


def first(seen: Seen) -> str:
    """Say what comes first where something follows from a server that is down."""
    down = [called for name, called in SERVERS.items() if isinstance(getattr(seen, name), Down)]
    return f"bring {' and '.join(down)} back first" if down else shortage(seen)


def shortage(seen: Seen) -> str:
    """Say what has to be freed first, if a service says that something is full."""
    said = [why for one in seen.services for why in one.problems.values()]
    return next(
        (f"{do} first" for words, (do, *_) in FREE.items() if any(words in why for why in said)), ""
    )


def remedy(seen: Seen, reason: str) -> str:
    """Return what helps against a reason; empty where its words say nothing."""
    found = [
        f"{do}: {steps.inside(seen, server, command)}; all goes on by itself"
        for words, (do, server, command) in FREE.items()
        if words in reason
    ]
    return "; ".join([*found, *(do for words, do in REMEDIES.items() if words in reason)])
