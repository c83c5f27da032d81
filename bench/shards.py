"""What two shards cost beside one pipeline, on the same cores: CPU for a message, as a ratio.

Measured: from the opening of a gate to the last row, CPU of ingests and syncers, of Postgres and
of the broker in their containers, divided by the messages. Two shards have half of the messages
each, a database each in the same Postgres, one broker and one KeyDB. Turns alternate.

Not measured: what shards are for. Here they share the cores that one pipeline fills by itself; each
would have a Postgres on a machine of its own.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import docker
import pika
import psycopg

from bench import programs
from bench.drain import Stored, observer
from bench.ground import PROVIDERS, QUEUE, Ground, Message, Site, ground, ordinary
from bench.ingest_scale import WAITING
from bench.programs import Program
from bench.result import Plan, Progress, Result, Row
from shared.shard import Shard, of
from tests.support.containers import LABEL

QUESTION = "two shards beside one pipeline, on the same cores"
COUNTS = (1, 2)
POLL_EVERY_S = 0.1
TIMEOUT_S = 900.0
STARTED_S = 60.0
"""An ingest whose wait at the gate ends with its lock_timeout comes again."""
SETTLED_S = 2.0
"""In which a syncer has begun, whose start is not measured."""
PARTS = ("programs", "Postgres", "RabbitMQ")
TARGET = 1.1


@dataclass(frozen=True)
class Turn:
    """CPU of each part, and how long it took."""

    messages: int
    seconds: float
    cpu_s: dict[str, float]

    @property
    def cpu_us(self) -> float:
        """CPU microseconds for a message, of all parts."""
        return sum(self.cpu_s.values()) / self.messages * 1e6


@dataclass(frozen=True)
class Part:
    """One shard's ground, and what waits in its queue."""

    shard: Shard
    ground: Ground
    messages: int


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Let one pipeline and two shards store the same number of messages, in turns."""
    turns: dict[int, list[Turn]] = {count: [] for count in COUNTS}
    for run in range(plan.runs):
        for count in COUNTS if run % 2 == 0 else reversed(COUNTS):
            progress.turn(f"run {run + 1} of {plan.runs}: {count} of them")
            found = _turn(site, count, plan.messages)
            turns[count].append(found)
            progress.turn(f"{found.cpu_us:.1f} µs of CPU a message")
    notes = [f"messages per turn: {plan.messages:,}; CPU in µs of the cores for a message"]
    return Result("shards", QUESTION, [_row(count, turns) for count in COUNTS], notes)


def _row(count: int, turns: dict[int, list[Turn]]) -> Row:
    found = turns[count]
    parts = {
        f"{part} µs": median(one.cpu_s[part] / one.messages * 1e6 for one in found)
        for part in PARTS
    }
    return {
        "shards": count,
        "messages/s": median(one.messages / one.seconds for one in found),
        **parts,
        "CPU µs/message": median(one.cpu_us for one in found),
        "CPU / one": median(
            one.cpu_us / alone.cpu_us for one, alone in zip(found, turns[1], strict=True)
        ),
        "target": TARGET,
    }


def _turn(site: Site, count: int, messages: int) -> Turn:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(ground(site))
        dsns = [first.dsn]
        dsns += [stack.enter_context(site.postgres.database()) for _ in range(count - 1)]
        for dsn in dsns[1:]:
            _add_providers(dsn)
        numbers = _publish(first, count, ordinary(messages))
        parts = [
            Part(Shard(k, count), Ground(dsn, first.amqp_url, first.keydb_url), numbers[k])
            for k, dsn in enumerate(dsns)
        ]
        return _drained(site, parts)


def _drained(site: Site, parts: Sequence[Part]) -> Turn:
    with contextlib.ExitStack() as stack:
        conns = [stack.enter_context(observer(part.ground)) for part in parts]
        running = [stack.enter_context(_started(part, "syncer")) for part in parts]
        time.sleep(SETTLED_S)
        gates = [stack.enter_context(_gate(part)) for part in parts]
        running += [stack.enter_context(_started(part, "ingest")) for part in parts]
        for conn in conns:
            programs.wait_until(partial(_at_the_gate, conn), STARTED_S, "no ingest came")
        stored = [Stored(conn, part.messages) for conn, part in zip(conns, parts, strict=True)]
        spent = _spent(site, running)
        before, began = spent(), time.monotonic()
        for gate in gates:
            gate.rollback()
        while not all(one() for one in stored):
            if time.monotonic() - began > TIMEOUT_S:
                raise TimeoutError(f"not everything was stored after {TIMEOUT_S:g} s")
            for program in running:
                program.log()  # raises if it has ended
            time.sleep(POLL_EVERY_S)
        seconds, after = time.monotonic() - began, spent()
    cpu_s = {part: after[part] - before[part] for part in PARTS}
    return Turn(sum(part.messages for part in parts), seconds, cpu_s)


def _started(part: Part, service: str) -> contextlib.AbstractContextManager[Program]:
    return programs.service(service, SHARD=str(part.shard)).running(part.ground)


@contextlib.contextmanager
def _gate(part: Part) -> Iterator[psycopg.Connection]:
    """Hold what each ingest looks at before it consumes."""
    with psycopg.connect(part.ground.dsn) as gate:
        gate.execute("LOCK TABLE schema_migration IN ACCESS EXCLUSIVE MODE")
        yield gate


def _at_the_gate(conn: psycopg.Connection) -> bool:
    row = conn.execute(WAITING).fetchone()
    return row is not None and row[0] > 0


def _publish(ground: Ground, count: int, messages: Iterator[Message]) -> list[int]:
    """Fill each shard's queue; return how many went where, once all are there."""
    queues = [Shard(k, count).name(QUEUE) for k in range(count)]
    sent = [0] * count
    with contextlib.closing(
        pika.BlockingConnection(pika.URLParameters(ground.amqp_url))
    ) as connection:
        channel = connection.channel()
        for queue in queues:
            channel.queue_declare(queue, durable=True)
        for body, identity in messages:
            k = of(json.loads(body)["id"], count)
            about = pika.BasicProperties(delivery_mode=2, message_id=identity)
            channel.basic_publish("", queues[k], body, about)
            sent[k] += 1

        def ready() -> bool:
            found = [channel.queue_declare(queue, passive=True) for queue in queues]
            return [one.method.message_count for one in found] == sent

        programs.wait_until(ready, TIMEOUT_S, "not all messages came", every_s=0.2)
    return sent


def _add_providers(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO initial_data (id, provider_name, initial_value)"
            " SELECT n, 'Provider ' || n, 0 FROM generate_series(1, %s) AS n",
            [PROVIDERS],
        )
        conn.execute("VACUUM ANALYZE initial_data")


def _spent(site: Site, running: Sequence[Program]) -> Callable[[], dict[str, float]]:
    """Return what says how many CPU seconds each part has spent, whoever else is on the machine."""
    client = docker.from_env()
    hosts = {"Postgres": site.postgres.address, "RabbitMQ": site.rabbitmq.host}
    of_host = {
        one.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]: str(one.id)
        for one in client.containers.list(filters={"label": LABEL})
    }

    def spent() -> dict[str, float]:
        servers = {
            part: client.api.stats(of_host[host], stream=False, one_shot=True)
            for part, host in hosts.items()
        }
        return {"programs": sum(one.cpu_s() for one in running)} | {
            part: found["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
            for part, found in servers.items()
        }

    return spent
