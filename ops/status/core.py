"""What is wrong, and what to type next. Pure: what was found comes in."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

from ops.deployment import PERIPHERAL_SERVICES
from ops.status import advice
from ops.status.snapshot import ABSENT, Down, LastTick, Ledger, Service, Snapshot, Unacknowledged
from ops.wording import age, count, moment
from services.syncer.core import PARTIAL_PREFIX
from shared.postgres import SCHEMA_NEEDED

LATENESS_MAX_S = 1.0
"""The promise: within one second of the boundary."""
MISSED_TICKS_MAX = 2
BLOCKED_MAX_S = 2.0
"""For how long a lock may be waited for: a batch takes milliseconds."""
FULL_WRONG_S, FULL_NOTE_S = 6 * 3600, 72 * 3600
"""The disk is said to be full so soon: as the alerts MinutebookDiskFull and …Filling."""
REQUEST_OPEN_MAX_S = 3600.0
"""As the alert MinutebookRequestOpen."""
AGAIN_SOON = "ops status   (again in some seconds)"
AGAIN = "ops status   (again after the next boundary)"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong, or worth knowing, and what to type next."""

    level: Literal["wrong", "note"]
    about: str
    says: str
    do: str


wrong = partial(Finding, "wrong")
note = partial(Finding, "note")


def assess(snapshot: Snapshot) -> list[Finding]:
    """Return what is wrong first, then what is good to know; empty when there is nothing."""
    found = [
        *_servers(snapshot), *of_services(snapshot), *_postgres(snapshot), *_rabbitmq(snapshot),
        *_keydb(snapshot),
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.level != "wrong")


def _servers(snapshot: Snapshot) -> Iterator[Finding]:
    for name in advice.SERVERS:
        server = getattr(snapshot, name)
        if isinstance(server, Down):
            do = advice.for_reason(snapshot, server.error) or advice.for_server(snapshot, name)
            yield wrong(name, f"{name} {server.state}: {server.error}", do)


def of_services(snapshot: Snapshot) -> Iterator[Finding]:
    """Yield what is wrong with the services that were asked."""
    ledger = snapshot.postgres
    missed = [] if isinstance(ledger, Down) else list(_followers(snapshot, ledger))
    for one in snapshot.services:
        if one.healthy or (one.error == ABSENT and one.name in {other.about for other in missed}):
            continue
        if one.name in PERIPHERAL_SERVICES and one.error == ABSENT:
            do = f"{advice.how_to_start(snapshot, one.name)}   (if it is wanted)"
            yield note(one.name, "is not started; the core does without", do)
            continue
        if one.starting:
            yield note(advice.name_of(one), f"is starting: {_parts(one)}", AGAIN_SOON)
            continue
        said = one.error or _parts(one)
        says = f"{one.address} does not answer: {said}" if one.error else f"is unhealthy: {said}"
        do = advice.for_reason(snapshot, said) or advice.for_service(snapshot, one, said)
        yield wrong(advice.name_of(one), says, do)


def _parts(one: Service) -> str:
    return "; ".join(f"{part}: {why}" for part, why in one.problems.items())


def _postgres(snapshot: Snapshot) -> Iterator[Finding]:
    ledger = snapshot.postgres
    if isinstance(ledger, Down):
        return
    if ledger.schema < SCHEMA_NEEDED or ledger.tick is None:
        old = f"the schema is at version {ledger.schema}, this release needs {SCHEMA_NEEDED}"
        yield wrong("postgres", ledger.missing or old, advice.migrate(snapshot))
        return
    yield from _tick(snapshot, ledger, ledger.tick)
    for one in ledger.blocked:
        if one.since_s > BLOCKED_MAX_S:
            holders = ", ".join(str(pid) for pid in one.holders)
            ends = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in one.holders)
            yield wrong(
                one.service,
                f"waits for a lock since {age(one.since_s)}; Postgres's process {holders} holds it",
                f"in pg_stat_activity see what {holders} does; to end it: {ends}",
            )
    if ledger.default_partition_rows:
        rows = count(ledger.default_partition_rows, "outbox row is", "outbox rows are")
        says = f"{rows} in the default partition: counted, but in the way of new partitions"
        yield wrong("outbox", says, "ops outbox repair")
    if ledger.disk and (in_s := ledger.disk.full_in_s) is not None and in_s < FULL_NOTE_S:
        says = f"the disk is full in {age(in_s)} at the rate of the last hours"
        level = wrong if in_s < FULL_WRONG_S else note
        yield level("disk", says if in_s else "the disk is full", advice.before_full(snapshot))
    if ledger.requests and (ledger.requests.oldest_s or 0) > REQUEST_OPEN_MAX_S:
        says = f"one of {age(ledger.requests.oldest_s)} ago is not decided"
        yield note("requests", says, "ops requests list --state running   (or pending)")
    yield from _dead_letters(ledger)
    yield from _followers(snapshot, ledger)


def _followers(snapshot: Snapshot, ledger: Ledger) -> Iterator[Finding]:
    for one in ledger.followers:
        behind = f"{count(one.lag_ticks, 'tick')} behind, for {age(one.lag_s)}"
        since_s = (ledger.now - one.moved_at).total_seconds()
        if one.error:
            do = advice.for_reason(snapshot, one.error) or advice.first(snapshot)
            yield wrong(one.name, f"stands still: {one.error}", do or _look(snapshot, one.name))
        elif one.lag_s <= _overdue_after_s(snapshot):
            continue
        elif not one.running:
            unwanted = f"ops followers forget {one.name}   (if it is not wanted any more)"
            do = f"{_start(snapshot, one.name)}; {unwanted}"
            yield wrong(one.name, f"does not run, and is {behind}", do)
        elif since_s > _overdue_after_s(snapshot):
            yield wrong(one.name, f"stands still, {behind}", _look(snapshot, one.name))
        else:
            yield note(one.name, f"catches up: {behind}", "ops status --watch")


def _look(snapshot: Snapshot, name: str) -> str:
    return f"{advice.logs(snapshot, name)}; ops doctor"


def _tick(snapshot: Snapshot, ledger: Ledger, tick: LastTick) -> Iterator[Finding]:
    since_s = (ledger.now - (tick.boundary or tick.folded_at)).total_seconds()
    if not tick.same_cluster:
        moved = "this database was moved to another cluster: the next tick takes a new baseline"
        yield note("postgres", moved, AGAIN)
    if since_s > _overdue_after_s(snapshot):
        yield wrong("tick", f"no tick for {age(since_s)}", _why_no_tick(snapshot))
    elif (tick.lateness_s or 0) > LATENESS_MAX_S:
        says = f"the tick of {moment(tick.boundary)} reached KeyDB {age(tick.lateness_s)} late"
        yield wrong("tick", says, advice.logs(snapshot, "syncer"))
    elif (ledger.unfolded_age_s or 0) > _overdue_after_s(snapshot):
        began = f"the oldest row to be counted began {age(ledger.unfolded_age_s)} ago:"
        says = f"{began} its transaction was open for long"
        yield note("outbox", says, "ops doctor   (shows open transactions)")


def _why_no_tick(snapshot: Snapshot) -> str:
    queues = snapshot.rabbitmq
    if isinstance(queues, Down):
        return f"{advice.first(snapshot)}: ticks come through it"
    if short := advice.shortage(snapshot):
        return short
    if queues.ticks is None or not queues.ticks.consumers:
        return _start(snapshot, "syncer")
    if queues.ticks.messages:
        return f"{advice.logs(snapshot, 'syncer')}   (a tick waits, the syncer does not take it)"
    # An alarm of the broker's cannot be seen from here: it stops only those who publish.
    return f"{_start(snapshot, 'ticker')}; ops doctor   (alarms)"


def _start(snapshot: Snapshot, name: str) -> str:
    return advice.for_silent_service(snapshot, name) or advice.start(snapshot, name)


def _dead_letters(ledger: Ledger) -> Iterator[Finding]:
    for state in ("open", "waiting"):
        dead = [one for one in ledger.dead if one.state == state]
        dead_letters = sum(one.letters for one in dead)
        reasons = ", ".join(f"{one.reason} {one.letters:,}" for one in dead)
        if dead_letters and state == "open":
            says = f"{count(dead_letters, 'dead letter')} to be decided about: {reasons}"
            yield wrong("dead letters", says, "ops dead-letters list")
        elif dead_letters:
            says = (
                f"{count(dead_letters, 'message waits', 'messages wait')} for a provider to exist"
            )
            do = "ops dead-letters list --state waiting; ops provider add --id ID NAME INITIAL"
            yield note("dead letters", says, do)


def _rabbitmq(snapshot: Snapshot) -> Iterator[Finding]:
    queues = snapshot.rabbitmq
    if isinstance(queues, Down):
        return
    if queues.transactions is None:
        kind = "stream" if queues.is_stream else "queue"
        yield wrong("queue", f"there is no {kind} {queues.source}", _start(snapshot, "ingest"))
    elif queues.is_stream:
        pass  # whether it is read is what ingest itself says
    elif not queues.transactions.consumers:
        waiting = count(queues.transactions.messages, "message waits", "messages wait")
        says = f"nobody consumes {queues.source}; {waiting}"
        yield wrong("queue", says, _start(snapshot, "ingest"))
    elif queues.transactions.messages:
        waiting = count(queues.transactions.messages, "message is", "messages are")
        says = f"{waiting} in {queues.source} beyond those that ingest has received"
        grows = f"ops status --watch; {advice.more_ingest(snapshot)}   (if it grows)"
        yield note("queue", says, advice.first(snapshot) or grows)
    if queues.ticks is None or not queues.ticks.consumers:
        silent = advice.for_silent_service(snapshot, "syncer")
        do = silent or advice.first(snapshot) or advice.start(snapshot, "syncer")
        yield wrong("syncer", "no syncer waits for ticks", do)
    held = queues.unacknowledged
    if isinstance(held, Unacknowledged) and held.stuck:
        messages = count(held.messages, "message")
        says = f"{messages} unacknowledged: in ingest's hand, and it acknowledges none"
        yield wrong("ingest", says, advice.first(snapshot) or advice.logs(snapshot, "ingest"))


def _keydb(snapshot: Snapshot) -> Iterator[Finding]:
    shown = snapshot.keydb
    if isinstance(shown, Down):
        return
    if not shown.token:
        if not _is_before_first_tick(snapshot):
            says = "KeyDB has no watermark: it is empty, or another's; the next tick sends all"
            yield wrong("keydb", says, f"{AGAIN}; ops rebuild")
    elif shown.token.startswith(PARTIAL_PREFIX):
        yield wrong("keydb", "a publication in chunks is under way, or broke off", AGAIN)
    elif shown.known is False:
        says = "KeyDB shows a tick that this database never wrote; the next tick sends all"
        yield wrong("keydb", says, f"{AGAIN}; ops rebuild")
    elif shown.age_s is None or shown.age_s > _overdue_after_s(snapshot):
        says = f"KeyDB shows the balances of {age(shown.age_s)} ago"
        do = advice.first(snapshot) or advice.logs(snapshot, "syncer", "ticker")
        yield wrong("keydb", says, do)


def _overdue_after_s(snapshot: Snapshot) -> float:
    """Return after how long without a tick something is wrong."""
    return MISSED_TICKS_MAX * snapshot.interval_s + LATENESS_MAX_S


def _is_before_first_tick(snapshot: Snapshot) -> bool:
    if isinstance(snapshot.postgres, Down) or snapshot.postgres.tick is None:
        return False
    tick = snapshot.postgres.tick
    young = snapshot.postgres.now - tick.folded_at < timedelta(seconds=_overdue_after_s(snapshot))
    return tick.boundary is None and young
