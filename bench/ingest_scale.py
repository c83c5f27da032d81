"""What two and four replicas of ingest add, on quorum and on classic queues.

Measured: throughput of all replicas together, their CPU per message against one replica's, how the
messages were shared out, and duplicates. A gate lets all replicas begin together: a lock on the
table that each looks at before it consumes.

Not measured: replicas on machines of their own. Here they share the cores with each other, with
Postgres and with the broker, so more of them can only help where one leaves a core idle.
"""

import contextlib
from collections.abc import Iterator
from statistics import median

import psycopg

from bench import programs
from bench.drain import Drain, Stored, drained, observer
from bench.ground import Ground, Site, ground, ordinary, publish
from bench.programs import Program
from bench.result import Plan, Progress, Result, Row

QUESTION = "replicas on one queue"
REPLICAS = (1, 2, 4)
QUEUE_TYPES = ("quorum", "classic")
GATE_TIMEOUT_S = 9.0
"""Below the services' lock_timeout."""

CONNECTIONS = 2
"""Of each replica: its writer's, and that of who stores dead letters whose provider has come."""
WAITING = """
SELECT count(*)
  FROM pg_stat_activity
 WHERE datname = current_database()
   AND application_name = 'minutebook-ingest'
   AND wait_event_type = 'Lock'
"""

Turn = tuple[Drain, list[float], float]
"""The drain, each replica's share of the rows, duplicates."""


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Let 1, 2 and 4 replicas empty a queue of each type."""
    rows: list[Row] = []
    for queue_type in QUEUE_TYPES:
        turns: dict[int, list[Turn]] = {replicas: [] for replicas in REPLICAS}
        for run in range(plan.runs):
            for replicas in REPLICAS:
                progress.turn(f"run {run + 1} of {plan.runs}: {queue_type}, {replicas} replicas")
                turns[replicas].append(_turn(site, queue_type, replicas, plan.messages))
        rows += [_row(queue_type, replicas, turns) for replicas in REPLICAS]
    return Result("ingest_scale", QUESTION, rows, ["targets: no duplicates, CPU ratio at most 1.3"])


def _turn(site: Site, queue_type: str, replicas: int, messages: int) -> Turn:
    with ground(site, queue_type=queue_type) as fresh:
        publish(fresh, ordinary(messages))
        with _at_the_gate(fresh, replicas) as (running, gate), observer(fresh) as conn:
            drain = drained(fresh, messages, running, Stored(conn, messages), gate.rollback)
            stored = [one.metric("minutebook_ingest_rows_total") for one in running]
            doubled = sum(one.metric("minutebook_ingest_duplicates_total") for one in running)
    return drain, [count / messages for count in stored], doubled


@contextlib.contextmanager
def _at_the_gate(
    fresh: Ground, replicas: int
) -> Iterator[tuple[list[Program], psycopg.Connection]]:
    """Start replicas that all begin to consume when the transaction of the connection ends."""
    with (
        contextlib.ExitStack() as stack,
        psycopg.connect(fresh.dsn) as gate,
        observer(fresh) as conn,
    ):
        gate.execute("LOCK TABLE schema_migration IN ACCESS EXCLUSIVE MODE")
        running = [stack.enter_context(programs.ingest().running(fresh)) for _ in range(replicas)]
        programs.wait_until(
            lambda: conn.execute(WAITING).fetchone() == (CONNECTIONS * replicas,),
            GATE_TIMEOUT_S,
            "not all replicas came to the gate",
        )
        yield running, gate


def _row(queue_type: str, replicas: int, turns: dict[int, list[Turn]]) -> Row:
    found = turns[replicas]
    shares = [share for _, shares, _ in found for share in shares]
    return {
        "queue": queue_type,
        "replicas": replicas,
        "messages/s": median(drain.per_s for drain, _, _ in found),
        "speed / one": median(
            drain.per_s / alone.per_s
            for (drain, _, _), (alone, _, _) in zip(found, turns[1], strict=True)
        ),
        "CPU µs/message": median(drain.cpu_us for drain, _, _ in found),
        "CPU / one": median(
            drain.cpu_us / alone.cpu_us
            for (drain, _, _), (alone, _, _) in zip(found, turns[1], strict=True)
        ),
        "least share": min(shares),
        "most share": max(shares),
        "duplicates": sum(doubled for _, _, doubled in found),
    }
