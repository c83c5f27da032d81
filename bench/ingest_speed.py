"""How fast ingest is beside a consumer that stores nothing, Node, and one row at a time.

Measured: the time from a full queue to an empty one with every row visible (the last
acknowledgement is waited for only where there are no rows to see: the null consumer), of one
process each, in turns that rotate, on a fresh database and queue each. Our ingest is as it
ships: real schema, validation, metrics, dedupe, durable commits. The peer in Node has the same
design without validation; row by row has the same tables.

Not measured: publishing (the queue is filled before), starting and connecting, several replicas.
Everything shares this machine's cores, Postgres and the broker too: with few cores a program that
leaves more to them looks slower than it would be alone. So the table says where all of it went.
"""

from statistics import median

from bench import programs
from bench.drain import Drain, drain_with
from bench.ground import Site, ground, ordinary, publish
from bench.programs import Contender
from bench.result import Plan, Progress, Result, Row

QUESTION = "messages per second, one process each, in turns"
SLOW_SHARE = 20
"""Row by row gets a twentieth of the messages: it would take minutes."""
TARGETS = {"null consumer": 0.8, "node": 1.0, "row by row": 24.0}


def contenders() -> list[Contender]:
    """Return ours and its peers; Node only where it can be installed."""
    node = programs.node_peer("node")
    return [
        programs.ingest(),
        programs.python_peer("null consumer", "null_consumer"),
        *([node] if node else []),
        programs.python_peer("row by row", "row_by_row"),
    ]


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Let each contender empty a queue `plan.runs` times."""
    entrants = contenders()
    drains: dict[str, list[Drain]] = {one.name: [] for one in entrants}
    for run in range(plan.runs):
        for place in range(len(entrants)):
            entrant = entrants[(run + place) % len(entrants)]
            progress.turn(f"run {run + 1} of {plan.runs}: {entrant.name}")
            drains[entrant.name].append(turn(site, entrant, plan.messages))
    rows = compare(drains, "ingest", TARGETS)
    rows = [row | _shares(drains[str(row["program"])]) for row in rows]
    return Result("ingest_speed", QUESTION, rows, _notes(drains))


def turn(site: Site, entrant: Contender, messages: int) -> Drain:
    """Fill a fresh queue and let `entrant` empty it."""
    count = messages // SLOW_SHARE if entrant.name == "row by row" else messages
    with ground(site) as fresh:
        publish(fresh, ordinary(count))
        return drain_with(entrant, fresh, count)


def compare(
    drains: dict[str, list[Drain]], ours: str, targets: dict[str, float] | None = None
) -> list[Row]:
    """Return a row per contender; the ratio is the median over the runs, each with its own pair."""
    return [
        {
            "program": name,
            "messages/s": median(one.per_s for one in found),
            "least": min(one.per_s for one in found),
            "most": max(one.per_s for one in found),
            "CPU µs/message": median(one.cpu_us for one in found),
            f"{ours} / this": median(
                mine.per_s / other.per_s for mine, other in zip(drains[ours], found, strict=True)
            ),
            "target": (targets or {}).get(name),
        }
        for name, found in drains.items()
    ]


def _shares(found: list[Drain]) -> Row:
    """Return what else the cores did meanwhile, in µs per message."""
    return {
        f"{name} µs": median(one.others_s[name] / one.messages * 1e6 for one in found)
        for name in found[0].others_s
    }


def _notes(drains: dict[str, list[Drain]]) -> list[str]:
    sizes = ", ".join(f"{name} {found[0].messages:,}" for name, found in drains.items())
    notes = [
        f"messages per turn: {sizes}",
        "CPU: of the program alone; beside it that of its servers, and what all cores left idle",
    ]
    if "node" not in drains:
        notes.append("node: left out, node or npm is missing or amqplib and pg cannot be had")
    return notes
