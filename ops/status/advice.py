"""What to type next: about a reason, about a service or server that is silent, about what is full.

Commands are those of docker compose for what compose runs, and plain English for anything else.
Pure: what was found comes in.
"""

from ops.deployment import OURS
from ops.status.snapshot import CLOSED, SILENT, Down, Service, Snapshot
from shared.amqp.connection import BLOCKED

WRONG_LOGIN = "docs/runbook.md, Rotate credentials: the login has another password than the setting"
SERVERS = {"postgres": "Postgres", "rabbitmq": "RabbitMQ", "keydb": "KeyDB"}
FULL = {
    "53100": ("free space on Postgres's disk", "postgres", "df -h"),
    BLOCKED: ("free memory or disk of RabbitMQ", "rabbitmq", "rabbitmq-diagnostics alarms"),
}
"""What to free where a reason has this text, and the server and command that show how full."""
REMEDIES = {
    "is read-only": "ops doctor   (transaction_read_only: a replica, or set so)",
    "password authentication failed": WRONG_LOGIN,
    "refuses the login": WRONG_LOGIN,
}
"""What to do where a reason has this text: SQLSTATEs, and what servers say of themselves."""


def for_reason(snapshot: Snapshot, reason: str) -> str:
    """Return what helps against a reason; empty where nothing is known to help."""
    found = [
        f"{do}: {on_server(snapshot, server, command)}; all goes on by itself"
        for text, (do, server, command) in FULL.items()
        if text in reason
    ]
    return "; ".join([*found, *(do for text, do in REMEDIES.items() if text in reason)])


def for_service(snapshot: Snapshot, one: Service, said: str) -> str:
    """Return what to do about a service that is unhealthy or silent; `said` is all it said."""
    if one.error:
        return _revive(snapshot, one)
    named = [name for name in SERVERS if f"{name}: " in said]
    follows = not named or any(isinstance(getattr(snapshot, name), Down) for name in named)
    return (follows and first(snapshot)) or logs(snapshot, name_of(one))


def for_silent_service(snapshot: Snapshot, name: str) -> str:
    """Return what to do about the service `name`, if it was asked and does not answer."""
    silent = [one for one in snapshot.services if one.name == name and one.error]
    return _revive(snapshot, silent[0]) if silent else ""


def first(snapshot: Snapshot) -> str:
    """Say what comes first where something follows from a server that is down or full."""
    down = [name for key, name in SERVERS.items() if isinstance(getattr(snapshot, key), Down)]
    return f"bring {' and '.join(down)} back first" if down else shortage(snapshot)


def shortage(snapshot: Snapshot) -> str:
    """Say what has to be freed first, if a service says that something is full."""
    said = [why for one in snapshot.services for why in one.problems.values()]
    return next(
        (f"{do} first" for text, (do, *_) in FULL.items() if any(text in why for why in said)), ""
    )


def name_of(one: Service) -> str:
    """Return a service's name, or its address where it is known by nothing else."""
    return one.name if one.name in OURS else f"the service at {one.address}"


def logs(snapshot: Snapshot, *names: str) -> str:
    """Return how logs are read."""
    if snapshot.composed.issuperset(names):
        return f"docker compose logs --tail 50 {' '.join(names)}"
    return f"look at the log of {' and '.join(names)}"


def start(snapshot: Snapshot, name: str) -> str:
    """Return how a program is started that does not run, and how to see that it does."""
    return f"{how_to_start(snapshot, name)}; {logs(snapshot, name)}"


def how_to_start(snapshot: Snapshot, name: str) -> str:
    """Return how a program is started."""
    return f"docker compose up -d {name}" if name in snapshot.composed else f"start {name}"


def _revive(snapshot: Snapshot, one: Service) -> str:
    name = name_of(one)
    composed = name in snapshot.composed
    if one.error == SILENT:
        if composed:
            return f"docker compose ps -a {name}; docker compose unpause {name}   (if it is paused)"
        return f"see whether {name} runs; if it is paused, let it go on"
    if one.error == CLOSED:
        again = f"docker compose up -d {name}" if composed else "start it again"
        return f"{logs(snapshot, name)}; {again}"
    return start(snapshot, name)


def for_server(snapshot: Snapshot, server: str) -> str:
    """Return what to do about a server that does not answer."""
    if server in snapshot.composed:
        return f"docker compose ps {server}; {logs(snapshot, server)}"
    return f"see whether {server} runs and can be reached from here; {logs(snapshot, server)}"


def on_server(snapshot: Snapshot, server: str, command: str) -> str:
    """Return how a command is run where a server runs."""
    if server in snapshot.composed:
        return f"docker compose exec {server} {command}"
    return f"{command}   (on the machine of {server})"


def before_full(snapshot: Snapshot) -> str:
    """Return what to do before Postgres's disk is full."""
    look = on_server(snapshot, "postgres", "df -h")
    return f"{look}; a larger disk, or a lower OUTBOX_RETENTION_GB (docs/runbook.md, Disk full)"


def migrate(snapshot: Snapshot) -> str:
    """Return how the schema is brought to this release's."""
    return "docker compose run --rm migrate" if snapshot.composed else "python -m migrations"


def more_ingest(snapshot: Snapshot) -> str:
    """Return how there are more replicas of ingest."""
    if "ingest" in snapshot.composed:
        return "docker compose up -d --scale ingest=3"
    return "start more replicas of ingest"
