"""`ops find`."""

from dataclasses import replace
from datetime import UTC, datetime
from difflib import SequenceMatcher

import click
import psycopg
from rich.console import Group
from rich.text import Text

from ops import deployment, queue_stats, shards, tables
from ops.answer import Answer, answering
from ops.params import Words
from ops.wording import count, digits, moment, visible
from shared import postgres, program, settings
from shared.errors import Unavailable
from shared.ledger import life, life_store
from shared.ledger.life import Act, Change, Life

SIMILAR = 0.8
"""From this share of alike characters on, a neighbour in order may be meant."""
IN_WORDS = {
    "shown": "a row, counted, shown in KeyDB",
    "counted": "a row, counted, not shown in KeyDB yet",
    "stored": "a row; no tick has counted it yet",
    "waiting": "no row yet: it waits for its provider",
    "open": "no row: a dead letter",
    "removed": "its row was deleted",
    "replayed": "no row of this identity: replayed under another one",
    "purged": "no row: its dead letter was deleted",
    "unknown": "never seen here",
}
UNKNOWN_TIME = datetime.fromtimestamp(0, UTC)
"""Where a row stands whose time is not known: it came before us."""
Line = tuple[datetime | None, str]


@click.command("find", short_help="Show the life of one transaction.")
@click.argument("message_id", metavar="ID", type=Words(), required=False)
@click.option("--row", "row_id", type=int, help="By the id in historical_transactions instead.")
@answering
def find(*, message_id: str | None, row_id: int | None) -> Answer:
    """Show the life of the transaction whose message has this ID (its message_id).

    When it was stored, which tick counted it, when KeyDB showed that, changes by hand, dead
    letters, what operators did. Exit 1 if it was never seen, with what to check next.
    """
    if (message_id is None) == (row_id is None):
        raise click.UsageError("give an ID, or --row N")
    if row_id is not None:
        shards.need_one("--row")
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        if message_id is not None:
            found = life.by_identity(conn, message_id)
        else:
            found = life.by_row(conn, row_id or 0)
        if found.state == "unknown":
            found = replace(found, next=_elsewhere(conn, message_id))
        else:
            found = replace(found, next=_next(found))
    code = program.EXIT_FINDING if found.state == "unknown" else 0
    return Answer(found, _view(found, row_id), code)


def _next(found: Life) -> list[str]:
    if found.state == "stored" and not found.changes:
        return ["no outbox row names it, so no tick will count it: ops reconcile"]
    if found.row is None and found.dead_letters:
        return [f"{shards.tool()} dead-letters show {found.dead_letters[0].id}"]
    return []


def _elsewhere(conn: psycopg.Connection, message_id: str | None) -> list[str]:
    """Say where a transaction may be that left no trace here."""
    says = [_queue()]
    with postgres.translating():
        dead_letters = life_store.latest_dead_letters(conn)
        near = life_store.nearest(conn, message_id) if message_id else []
    if dead_letters:
        listed = ", ".join(
            f"{id_} {reason} ({visible(name)})" for id_, reason, name in dead_letters
        )
        says.append(f"dead letters of the last 15 minutes: {listed}")
    else:
        says.append("no dead letter came in the last 15 minutes")
    wanted = message_id or ""
    alike = [one for one in near if SequenceMatcher(None, wanted, one).ratio() >= SIMILAR]
    if alike:
        says.append(f"spelling: the nearest are {', '.join(map(visible, alike))}")
    return says


def _queue() -> str:
    chosen = settings.load(deployment.QueueSettings)
    try:
        state = queue_stats.inspect(chosen, [chosen.source], name="ops").queues[chosen.source]
    except Unavailable as error:
        return f"queue {chosen.source}: rabbitmq {error.state}"
    if state is None:
        return f"queue {chosen.source} does not exist"
    return f"queue {chosen.source}: {count(state.messages, 'message')} ready to be stored"


def _view(found: Life, row_id: int | None) -> Group:
    name = visible(found.message_id) if found.message_id is not None else f"row {row_id}"
    table = tables.table("when (UTC)", "what")
    for at, what in sorted(_lines(found), key=lambda one: one[0] or UNKNOWN_TIME):
        table.add_row(moment(at), what)
    lines = [Text(one) for one in _remarks(found)] + [Text(f"next: {one}") for one in found.next]
    body = [table] if table.row_count else []
    return Group(Text(f"{name}: {IN_WORDS[found.state]}", style="bold"), *body, *lines)


def _lines(found: Life) -> list[Line]:
    """Return the timeline, in no order."""
    lines: list[Line] = []
    if found.row and not any(one.operation == "added" for one in found.changes):
        row = found.row
        what = f"stored as row {row.id}: provider {digits(row.provider_id)}, {row.amount or '-'}"
        lines.append((row.stored_at, what))
    for change in found.changes:
        lines += _change(change)
    for dead_letter in found.dead_letters:
        what = f"dead letter {dead_letter.id} ({dead_letter.state}): {dead_letter.reason}"
        lines.append((dead_letter.received_at, f"{what}, from {dead_letter.queue}"))
    lines += [(act.at, _act(act)) for act in found.acts or []]
    return lines


def _change(one: Change) -> list[Line]:
    verb = {"added": "stored as", "modified": "changed by hand:", "removed": "deleted by hand:"}
    says = (
        f"{verb[one.operation]} row {one.row_id}, provider {one.provider_id}, {_signed(one.amount)}"
    )
    if one.tick is None:
        return [(one.at, f"{says}; the next tick will count it")]
    tick = f"tick {moment(one.tick.boundary)} (epoch {one.tick.epoch})"
    lines: list[Line] = [(one.at, f"{says}; counted by the {tick}")]
    if one.tick.shown_at:
        lines.append((one.tick.shown_at, f"KeyDB shows the {tick}"))
    return lines


def _act(act: Act) -> str:
    edited = ", edited" if act.edited else ""
    renamed = f" as {visible(act.new_message_id)}" if act.new_message_id else ""
    action = act.action.replace("_", " ")
    return f"{action} {act.subject}{renamed}{edited}: {act.outcome}, by {visible(act.operator)}"


def _remarks(found: Life) -> list[str]:
    says = []
    if found.counted_by == "baseline":
        at = f" at {moment(found.boundary)}" if found.boundary else ""
        says.append(f"counted by the baseline{at} (epoch {found.epoch}) or before: all was summed")
    elif found.counted_by == "older tick":
        says.append("counted; by which tick is not kept any more (OUTBOX_RETENTION_HOURS)")
    if found.reversed_by:
        says.append(f"taken back by {visible(found.reversed_by)}")
    if found.message_id and found.message_id.startswith(life.REVERSAL):
        says.append(f"takes back {visible(found.message_id.removeprefix(life.REVERSAL))}")
    if found.acts is None:
        says.append("what operators did is not shown: this login may not read operator_action")
    return says


def _signed(amount: str) -> str:
    return f"{int(amount):+}"
