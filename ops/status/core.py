"""What is wrong, in words, and what to type next. Pure: what was seen comes in."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from ops.status import steps
from ops.status.remedies import SERVERS, first, remedy, rousing, shortage, waking
from ops.status.snapshot import Down, LastTick, Ledger, Queues, Seen, Unacknowledged
from ops.wording import age, count, moment
from services.syncer.core import PARTIAL_PREFIX
from shared.postgres import SCHEMA_NEEDED

LATENESS_MAX_S = 1.0
"""The promise: within one second of the boundary."""
MISSED_TICKS_MAX = 2
BLOCKED_MAX_S = 2.0
"""For how long a lock may be waited for: a batch takes milliseconds."""
Level = Literal["wrong", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong (or to be known), in words, and what to type next."""

    level: Level
    about: str
    says: str
    do: str


def judge(seen: Seen) -> list[Finding]:
    """Return what is wrong first, then what is good to know; empty when there is nothing."""
    found = [
        *_down(seen), *_services(seen), *_postgres(seen), *_rabbitmq(seen), *_in_hand(seen),
        *_keydb(seen),
    ]  # fmt: skip
    return sorted(found, key=lambda one: one.level != "wrong")


def _down(seen: Seen) -> Iterator[Finding]:
    for name in SERVERS:
        server = getattr(seen, name)
        if isinstance(server, Down):
            yield Finding(
                "wrong",
                name,
                f"{name} {server.state}: {server.error}",
                remedy(seen, server.error) or steps.look_at(seen, name),
            )


def _services(seen: Seen) -> Iterator[Finding]:
    for one in seen.services:
        if one.healthy:
            continue
        said = one.error or "; ".join(f"{part}: {why}" for part, why in one.problems.items())
        says = f"{one.address} does not answer: {said}" if one.error else f"is unhealthy: {said}"
        do = remedy(seen, said) or waking(seen, one, said)
        yield Finding("wrong", steps.called(one), says, do)


def _postgres(seen: Seen) -> Iterator[Finding]:
    ledger = seen.postgres
    if isinstance(ledger, Down):
        return
    if ledger.schema < SCHEMA_NEEDED or ledger.tick is None:
        yield Finding(
            "wrong",
            "postgres",
            ledger.missing
            or f"the schema is at version {ledger.schema}, this release needs {SCHEMA_NEEDED}",
            steps.migrate(seen),
        )
        return
    yield from _tick(seen, ledger, ledger.tick)
    for one in ledger.blocked:
        if one.since_s > BLOCKED_MAX_S:
            holders = ", ".join(str(pid) for pid in one.holders)
            yield Finding(
                "wrong",
                one.service,
                f"waits for a lock since {age(one.since_s)}; Postgres's process {holders} holds it",
                f"in pg_stat_activity see what {holders} does; to end it: "
                + "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in one.holders),
            )
    if ledger.default_partition_rows:
        rows = count(ledger.default_partition_rows, "outbox row is", "outbox rows are")
        yield Finding(
            "wrong",
            "outbox",
            f"{rows} in the default partition: counted, but in the way of new partitions",
            "ops outbox repair",
        )
    yield from _letters(ledger)


def _tick(seen: Seen, ledger: Ledger, tick: LastTick) -> Iterator[Finding]:
    since_s = (ledger.now - (tick.boundary or tick.folded_at)).total_seconds()
    if not tick.same_cluster:
        yield Finding(
            "note",
            "postgres",
            "this database was moved to another cluster: the next tick takes a new baseline",
            "ops status   (again after the next boundary)",
        )
    if since_s > _patience_s(seen):
        yield Finding("wrong", "tick", f"no tick for {age(since_s)}", _who_is_to_blame(seen))
    elif (tick.lateness_s or 0) > LATENESS_MAX_S:
        yield Finding(
            "wrong",
            "tick",
            f"the tick of {moment(tick.boundary)} reached KeyDB {age(tick.lateness_s)} late",
            steps.logs(seen, "syncer"),
        )
    elif (ledger.unfolded_age_s or 0) > _patience_s(seen):
        yield Finding(
            "note",
            "outbox",
            f"the oldest row to be counted began {age(ledger.unfolded_age_s)} ago:"
            " its transaction was open for long",
            "ops doctor   (shows open transactions)",
        )


def _who_is_to_blame(seen: Seen) -> str:
    if isinstance(seen.rabbitmq, Down):
        return f"{first(seen)}: ticks come through it"
    if short := shortage(seen):
        return short
    if seen.rabbitmq.ticks is None or not seen.rabbitmq.ticks.consumers:
        return rousing(seen, "syncer") or steps.start(seen, "syncer")
    if seen.rabbitmq.ticks.messages:
        return f"{steps.logs(seen, 'syncer')}   (a tick waits, the syncer does not take it)"
    # An alarm of the broker's is not to be seen from here: it stops only those who publish.
    start = rousing(seen, "ticker") or steps.start(seen, "ticker")
    return f"{start}; ops doctor   (alarms)"


def _letters(ledger: Ledger) -> Iterator[Finding]:
    for state in ("open", "waiting"):
        dead = [one for one in ledger.dead if one.state == state]
        letters = sum(one.letters for one in dead)
        reasons = ", ".join(f"{one.reason} {one.letters:,}" for one in dead)
        if letters and state == "open":
            says = f"{count(letters, 'dead letter')} to be decided about: {reasons}"
            yield Finding("wrong", "dead letters", says, "ops dead-letters list")
        elif letters:
            says = f"{count(letters, 'message waits', 'messages wait')} for a provider to exist"
            do = "ops dead-letters list --state waiting; ops provider add --id ID NAME INITIAL"
            yield Finding("note", "dead letters", says, do)


def _rabbitmq(seen: Seen) -> Iterator[Finding]:
    queues = seen.rabbitmq
    if isinstance(queues, Down):
        return
    start = rousing(seen, "ingest") or steps.start(seen, "ingest")
    if queues.transactions is None:
        kind = "stream" if queues.is_stream else "queue"
        yield Finding("wrong", "queue", f"there is no {kind} {queues.source}", start)
    elif queues.is_stream:
        pass  # whether it is read is what ingest itself says
    elif not queues.transactions.consumers:
        waiting = count(queues.transactions.messages, "message waits", "messages wait")
        yield Finding("wrong", "queue", f"nobody consumes {queues.source}; {waiting}", start)
    elif queues.transactions.messages:
        waiting = count(queues.transactions.messages, "message is", "messages are")
        says = f"{waiting} in {queues.source} beyond what ingest has in hand"
        grows = f"ops status --watch; {steps.more_ingest(seen)}   (if it grows)"
        yield Finding("note", "queue", says, first(seen) or grows)
    if queues.ticks is None or not queues.ticks.consumers:
        yield Finding(
            "wrong",
            "syncer",
            "no syncer waits for ticks",
            rousing(seen, "syncer") or first(seen) or steps.start(seen, "syncer"),
        )


def _in_hand(seen: Seen) -> Iterator[Finding]:
    held = seen.rabbitmq.unacknowledged if isinstance(seen.rabbitmq, Queues) else None
    if isinstance(held, Unacknowledged) and held.stuck:
        messages = count(held.messages, "message")
        says = f"{messages} unacknowledged: in ingest's hand, and it acknowledges none"
        yield Finding("wrong", "ingest", says, first(seen) or steps.logs(seen, "ingest"))


def _keydb(seen: Seen) -> Iterator[Finding]:
    shown = seen.keydb
    if isinstance(shown, Down):
        return
    again = "ops status   (again after the next boundary)"
    if not shown.token:
        if not _before_first_tick(seen):
            says = "KeyDB has no watermark: it is empty, or another's; the next tick sends all"
            yield Finding("wrong", "keydb", says, f"{again}; ops rebuild")
    elif shown.token.startswith(PARTIAL_PREFIX):
        yield Finding("wrong", "keydb", "a publication in chunks is under way, or broke off", again)
    elif shown.known is False:
        says = "KeyDB shows a tick that this database never wrote; the next tick sends all"
        yield Finding("wrong", "keydb", says, f"{again}; ops rebuild")
    elif shown.age_s is None or shown.age_s > _patience_s(seen):
        says = f"KeyDB shows the balances of {age(shown.age_s)} ago"
        do = first(seen) or steps.logs(seen, "syncer", "ticker")
        yield Finding("wrong", "keydb", says, do)


def _patience_s(seen: Seen) -> float:
    """Return after how long without a tick something is wrong."""
    return MISSED_TICKS_MAX * seen.interval_s + LATENESS_MAX_S


def _before_first_tick(seen: Seen) -> bool:
    if isinstance(seen.postgres, Down) or seen.postgres.tick is None:
        return False
    tick = seen.postgres.tick
    young = seen.postgres.now - tick.folded_at < timedelta(seconds=_patience_s(seen))
    return tick.boundary is None and young
