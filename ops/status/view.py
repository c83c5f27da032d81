"""The same for people: a table of what was found, then what is wrong and what to type next."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from ops.deployment import PERIPHERAL_SERVICES
from ops.followers.store import Follower
from ops.status.core import Finding
from ops.status.snapshot import (
    ABSENT,
    Down,
    LastTick,
    Ledger,
    Queues,
    Requests,
    Service,
    Shown,
    Snapshot,
    Unacknowledged,
)
from ops.wording import age, count, moment, visible
from shared.amqp import ticks
from shared.amqp.connection import QueueState
from shared.ledger.disk_usage import DiskUsage

STYLES = {"wrong": "bold red", "note": "yellow"}


def view(snapshot: Snapshot, findings: Sequence[Finding]) -> RenderableType:
    """Return what a person is shown."""
    return Group(_table(snapshot), Text(), *_findings(snapshot, findings))


def watched(
    snapshot: Snapshot, findings: Sequence[Finding], *, looked_at: datetime, every_s: float
) -> RenderableType:
    """Return the same for a live view: a terminal cuts off its end, so what is wrong is first."""
    at = moment(looked_at.replace(microsecond=0))
    head = Text(f"{at}, every {every_s:g} s; Ctrl-C ends", style="dim")
    return Group(head, Text(), *_findings(snapshot, findings), Text(), _table(snapshot))


def _table(snapshot: Snapshot) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", overflow="fold")
    table.add_column(overflow="fold")
    for name, says in _lines(snapshot):
        table.add_row(name, says)
    return table


def _findings(snapshot: Snapshot, findings: Sequence[Finding]) -> Iterator[Text]:
    if not any(one.level == "wrong" for one in findings):
        if snapshot.not_asked:
            yield Text("Nothing wrong was found.", style="bold green")
        else:
            yield Text("Everything is healthy.", style="bold green")
    for one in findings:
        sign = "WRONG" if one.level == "wrong" else "note "
        yield Text(f"{sign}  {one.about}: {visible(one.says)}", style=STYLES[one.level])
        yield Text(f"       next: {one.do}")
    if snapshot.not_asked:
        yield Text(f"Not asked: {visible(', '.join(snapshot.not_asked))}.", style=STYLES["note"])


def _lines(snapshot: Snapshot) -> Iterator[tuple[str, str | Text]]:
    yield "postgres", _or_down(snapshot.postgres)
    yield "rabbitmq", _or_down(snapshot.rabbitmq)
    yield "keydb", _or_down(snapshot.keydb)
    if isinstance(snapshot.rabbitmq, Queues):
        kind, says = ("stream", _stream) if snapshot.rabbitmq.is_stream else ("queue", _queue)
        yield (
            f"{kind} {snapshot.rabbitmq.source}",
            says(snapshot.rabbitmq.transactions) + _held(snapshot.rabbitmq),
        )
        of_ticks = snapshot.rabbitmq.ticks
        yield f"queue {of_ticks.name if of_ticks else ticks.QUEUE}", _queue(of_ticks)
    if isinstance(snapshot.postgres, Ledger) and snapshot.postgres.tick is not None:
        yield "last tick", _tick(snapshot.postgres.tick)
        yield "unfolded", _unfolded(snapshot.postgres)
    if isinstance(snapshot.keydb, Shown):
        yield "watermark", _shown(snapshot.keydb)
    if isinstance(snapshot.postgres, Ledger) and snapshot.postgres.disk is not None:
        yield "disk", _disk(snapshot.postgres.disk)
    if isinstance(snapshot.postgres, Ledger):
        if snapshot.postgres.followers:
            yield "followers", _followers(snapshot.postgres.followers)
        if snapshot.postgres.requests:
            yield "requests", _requests(snapshot.postgres.requests)
        yield "dead letters", _dead(snapshot.postgres)
    if snapshot.services:
        yield "services", _services(snapshot.services)


def _or_down(server: Ledger | Queues | Shown | Down) -> str | Text:
    if isinstance(server, Down):
        return Text(
            f"{server.state.removeprefix('gives ')}: {visible(server.error)}", style=STYLES["wrong"]
        )
    says = f"version {visible(server.version)}"
    if isinstance(server, Ledger):
        says += f", schema {server.schema}, {count(server.providers, 'provider')}"
    return says + (f", {count(server.keys, 'key')} of ours" if isinstance(server, Shown) else "")


def _queue(state: QueueState | None) -> str:
    if state is None:
        return "does not exist"
    return f"{state.messages:,} ready, {count(state.consumers, 'consumer')}"


def _held(queues: Queues) -> str:
    held = queues.unacknowledged
    if isinstance(held, Unacknowledged) and held.messages:
        return f", {held.messages:,} unacknowledged"
    return ""


def _stream(state: QueueState | None) -> str:
    return "does not exist" if state is None else f"{count(state.messages, 'message')} kept"


def _tick(tick: LastTick) -> str:
    if tick.boundary is None:
        return f"none yet; baseline of {moment(tick.folded_at)}"
    late = f"{age(tick.lateness_s)} late" if tick.published_at else "not in KeyDB"
    return f"{moment(tick.boundary)}, {late}, epoch {tick.epoch}"


def _unfolded(ledger: Ledger) -> str:
    oldest = f", the oldest {age(ledger.unfolded_age_s)} old" if ledger.unfolded_rows else ""
    return f"{count(ledger.unfolded_rows, 'row')} since that tick{oldest}"


def _shown(shown: Shown) -> str:
    if not shown.token:
        return "none"
    return f"{moment(shown.boundary)}, {age(shown.age_s)} ago, epoch {visible(shown.epoch)}"


def _disk(disk: DiskUsage) -> str:
    of = f" of {decimal(int(disk.disk_bytes))}" if disk.disk_bytes else ""
    says = f"database {decimal(disk.database_bytes)}{of}, outbox {decimal(disk.outbox_bytes)}; "
    if disk.full_in_s is not None:
        says += f"full in {age(disk.full_in_s)}, "
    growth = disk.growth_bytes_per_h
    if growth is None:
        return f"{says}growth not known yet"
    return f"{says}{'shrinks' if growth < 0 else 'grows'} by {decimal(int(abs(growth)))} an hour"


def _followers(followers: Sequence[Follower]) -> str:
    return ", ".join(f"{visible(one.name)} {_follower(one)}" for one in followers)


def _follower(one: Follower) -> str:
    if one.error:
        return "stands still"
    return f"{count(one.lag_ticks, 'tick')} behind" if one.lag_ticks else "up to date"


def _requests(requests: Requests) -> str:
    oldest = f", the oldest {age(requests.oldest_s)} old" if requests.open else ""
    return f"{requests.open:,} open{oldest}, {requests.failed:,} failed since yesterday"


def _services(services: Sequence[Service]) -> str:
    names = dict.fromkeys(one.name for one in services)
    return ", ".join(_service([one for one in services if one.name == name]) for name in names)


def _service(replicas: Sequence[Service]) -> str:
    healthy = sum(one.healthy for one in replicas)
    number = f" {len(replicas)}" if len(replicas) > 1 else ""
    if healthy == len(replicas):
        return f"{replicas[0].name}{number} healthy"
    if replicas[0].name in PERIPHERAL_SERVICES and replicas[0].error == ABSENT:
        return f"{replicas[0].name} not started"
    if all(one.error for one in replicas):
        return f"{replicas[0].name} silent"
    return f"{replicas[0].name} {healthy} of {len(replicas)} healthy"


def _dead(ledger: Ledger) -> str:
    parts = [f"{one.state} {one.reason} {one.letters:,}" for one in ledger.dead]
    return ", ".join(parts) or "none"
