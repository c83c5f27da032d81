"""What to type next: by the words of a reason, by how a service is silent, by what comes first.

Pure: what was seen comes in.
"""

from ops.status.seen import ABSENT, CLOSED, SILENT, Down, Seen, Service
from shared.amqp.link import BLOCKED

WRONG_LOGIN = "docs/runbook.md, Rotate credentials: the login has another password than the setting"
SERVERS = {"postgres": "Postgres", "rabbitmq": "RabbitMQ", "keydb": "KeyDB"}
REMEDIES = {
    "53100": "free space on Postgres's disk: docker compose exec postgres df -h;"
    " all goes on by itself",
    BLOCKED: "free memory or disk of RabbitMQ: docker compose exec rabbitmq rabbitmq-diagnostics"
    " alarms; ticks go on by themselves",
    "is read-only": "ops doctor   (transaction_read_only: a replica, or set so)",
    "password authentication failed": WRONG_LOGIN,
    "refuses the login": WRONG_LOGIN,
}
"""What to do where a reason holds these words: SQLSTATEs, and what servers say of themselves."""
SHORTAGES = {
    "53100": "free space on Postgres's disk first",
    BLOCKED: "free memory or disk of RabbitMQ first",
}
"""What comes first where one service's reason explains the others' trouble."""
WAKING = {
    ABSENT: "docker compose up -d {name}; docker compose logs --tail 50 {name}",
    CLOSED: "docker compose logs --tail 50 {name}; docker compose up -d {name}",
    SILENT: "docker compose ps -a {name}; docker compose unpause {name}   (if it is paused)",
}
"""What to do where a service does not answer at all."""


def waking(seen: Seen, one: Service, said: str) -> str:
    """Return what to type about a service that is unwell, or silent; `said` is all it said."""
    if one.error:
        return WAKING.get(one.error, WAKING[ABSENT]).format(name=one.name)
    blamed = [name for name in SERVERS if f"{name}: " in said]
    follows = not blamed or any(isinstance(getattr(seen, name), Down) for name in blamed)
    return (follows and first(seen)) or f"docker compose logs --tail 50 {one.name}"


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
    return next((do for words, do in SHORTAGES.items() if any(words in why for why in said)), "")


def remedy(reason: str) -> str:
    """Return what helps against a reason; empty where its words say nothing."""
    return "; ".join(do for words, do in REMEDIES.items() if words in reason)
