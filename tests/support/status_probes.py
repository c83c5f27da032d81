"""What `ops status` may see: a healthy deployment, and what is changed of it."""

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console, RenderableType

from ops.deployment import OURS
from ops.status.core import Finding, assess
from ops.status.snapshot import LastTick, Ledger, Queues, Service, Shown, Snapshot, Unacknowledged
from ops.status.view import view
from shared.amqp.connection import QueueState
from shared.amqp.ticks import QUEUE as TICK_QUEUE
from shared.postgres import SCHEMA_NEEDED

NOW = datetime(2026, 11, 20, 23, 42, 30, tzinfo=UTC)
BOUNDARY = NOW - timedelta(seconds=30)
TICK = LastTick(7, "token", BOUNDARY, BOUNDARY, BOUNDARY + timedelta(milliseconds=12), True)  # noqa: FBT003
LEDGER = Ledger("17.2", NOW, SCHEMA_NEEDED, TICK, 60.0, 3, 12.0, 0, 2)
QUEUES = Queues("4.1", "incoming", QueueState("incoming", 0, 1), QueueState(TICK_QUEUE, 0, 1))
ASKED = replace(QUEUES, unacknowledged=Unacknowledged(0, stuck=False))
INGEST = Service("ingest", "172.18.0.5:9101", {})
SHOWN = Shown("6.3.4", NOW, "7", "token", BOUNDARY, BOUNDARY, 2, known=True)
COMPOSED = OURS | {"postgres", "rabbitmq", "keydb"}
ALL_HEALTHY = Snapshot(60.0, LEDGER, QUEUES, SHOWN, composed=COMPOSED)
ALL_ASKED = replace(ALL_HEALTHY, rabbitmq=ASKED, services=[INGEST])


def only(snapshot: Snapshot) -> Finding:
    """Return what is said of `snapshot`, which is one thing."""
    (found,) = assess(snapshot)
    return found


def with_ledger(**changes: object) -> Snapshot:
    """Return what is healthy but for these changes of what Postgres says."""
    return replace(ALL_HEALTHY, postgres=replace(LEDGER, **changes))  # type: ignore[arg-type]


def with_tick(**changes: object) -> Snapshot:
    """Return what is healthy but for these changes of the last tick."""
    return with_ledger(tick=replace(TICK, **changes))  # type: ignore[arg-type]


def with_shown(**changes: object) -> Snapshot:
    """Return what is healthy but for these changes of what KeyDB shows."""
    return replace(ALL_HEALTHY, keydb=replace(SHOWN, **changes))  # type: ignore[arg-type]


def shown_to_people(snapshot: Snapshot) -> str:
    return drawn(view(snapshot, assess(snapshot)))


def drawn(what: RenderableType) -> str:
    """Return what a terminal would show, without the spaces at the ends of lines."""
    wide = Console(width=120, file=io.StringIO())
    with wide.capture() as captured:
        wide.print(what)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())
