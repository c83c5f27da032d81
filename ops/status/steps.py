"""Steps: what to type about a program that compose runs, and in plain words about any other.

Pure: which programs compose runs comes in with what was seen.
"""

from ops.deployment import OURS
from ops.status.snapshot import CLOSED, SILENT, Seen, Service


def called(one: Service) -> str:
    """Return a service's name, or its address where it is known by nothing else."""
    return one.name if one.name in OURS else f"the service at {one.address}"


def logs(seen: Seen, *names: str) -> str:
    """Return how logs are read."""
    if seen.composed.issuperset(names):
        return f"docker compose logs --tail 50 {' '.join(names)}"
    return f"look at the log of {' and '.join(names)}"


def start(seen: Seen, name: str) -> str:
    """Return how a program is started that does not run."""
    if name in seen.composed:
        return f"docker compose up -d {name}; {logs(seen, name)}"
    return f"start {name}; {logs(seen, name)}"


def wake(seen: Seen, one: Service) -> str:
    """Return what to do about a service of ours that does not answer."""
    name = called(one)
    if one.error == SILENT:
        if name in seen.composed:
            return f"docker compose ps -a {name}; docker compose unpause {name}   (if it is paused)"
        return f"see whether {name} runs; if it is paused, let it go on"
    if one.error == CLOSED:
        again = f"docker compose up -d {name}" if name in seen.composed else "start it again"
        return f"{logs(seen, name)}; {again}"
    return start(seen, name)


def look_at(seen: Seen, server: str) -> str:
    """Return what to do about a server that does not answer."""
    if server in seen.composed:
        return f"docker compose ps {server}; {logs(seen, server)}"
    return f"see whether {server} runs and can be reached from here; {logs(seen, server)}"


def inside(seen: Seen, server: str, command: str) -> str:
    """Return how a command is run where a server runs."""
    if server in seen.composed:
        return f"docker compose exec {server} {command}"
    return f"{command}   (on the machine of {server})"


def migrate(seen: Seen) -> str:
    """Return how the schema is brought to this release's."""
    return "docker compose run --rm migrate" if seen.composed else "python -m migrations"


def more_ingest(seen: Seen) -> str:
    """Return how there are more replicas of ingest."""
    if "ingest" in seen.composed:
        return "docker compose up -d --scale ingest=3"
    return "start more replicas of ingest"
