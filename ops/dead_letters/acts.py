"""`ops dead-letters replay|purge`: what changes dead letters, many at a time."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import replace
from functools import partial
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from adoption import checks
from ops import deployment, tables
from ops.answer import Answer, answering
from ops.dead_letters import purge, store
from ops.dead_letters.absent import Absent, absent
from ops.dead_letters.choosing import choosing, need_choice
from ops.dead_letters.core import Choice
from ops.dead_letters.replay import Edit, Order, Replayed
from ops.dead_letters.replay_each import Queues, replay_each
from ops.dead_letters.sending_on import send_on
from ops.params import Reason, Words
from ops.progress import bar
from ops.sending.producer import Outgoing
from ops.wording import count
from services.ingest.store import OPTIONS
from shared import program, settings, tracing
from shared.alert import HistorySettings

SHOWN_MAX = 50
"""Dead letters of which a dry run shows a person each; `--json` has all."""
NOTE = (
    "Why you do it (--reason is the dead letters'); kept in operator_action, as is what was chosen."
)
DRY_RUN = "Only say what each dead letter would become; change nothing."


class DeadLetterSettings(
    settings.PostgresSettings,
    settings.SourceNames,
    settings.TracingSettings,
    settings.BodySettings,
    HistorySettings,
    deployment.OperatorSettings,
):
    """Where the dead letters are and came from, and who the operator is."""


@click.command("replay", short_help="Deliver dead letters again, perhaps corrected.")
@choosing
@click.option("--all", "everything", is_flag=True, help="Whatever there is.")
@click.option(
    "--body", type=Words(), help="What to send instead (one ID only); what came is kept on record."
)
@click.option(
    "--message-id", type=Words(), help="The identity to send it under instead (one ID only)."
)
@click.option("--note", type=Reason(), help=NOTE)
@click.option("--dry-run", is_flag=True, help=DRY_RUN)
@answering
def replay_(*, choice: Choice, everything: bool, **given: Any) -> Answer:  # noqa: ANN401 - click's
    """Deliver dead letters again, in one transaction: each is taken, or stays a dead letter.

    Each goes the way of the queue it came from: to a row if ingest reads it (INGEST_QUEUE or
    INGEST_STREAM), to the notifier's tables from alerts, notifications.delivered and prices, to its
    queue again, by the observer, from sightings; what came from another is left. Exit 1 if any is
    still a dead letter, or an ID is neither there nor replayed already. Harmless twice. Who
    replayed what is kept in the table operator_action.
    """
    need_choice(choice, everything=everything)
    body: str | None = given["body"]
    edit = Edit(None if body is None else body.encode(), given["message_id"])
    if edit != Edit() and len(choice.ids) != 1:
        raise click.UsageError("--body and --message-id are for exactly one ID")
    chosen = settings.load(DeadLetterSettings)
    queues = Queues.of(chosen.source, chosen.history_s, chosen.own_shard)
    if choice.queue not in (None, *queues.names):
        raise click.UsageError(
            f"dead letters are replayed to the queue they came from: {', '.join(queues.names)}"
        )
    tracing.configure(on=chosen.tracing == "on")
    with deployment.postgres_connection(chosen, options=OPTIONS) as conn:
        checks.refuse(conn)
        with bar("replaying", len(store.ids(conn, choice))) as progress:
            limits, note = chosen.body_limits, given["note"] or ""
            dry_run = given["dry_run"]
            order = Order(
                choice, edit, chosen.operator, limits, note, dry_run, progress, _sender(chosen)
            )
            done = replay_each(conn, order, queues)
    missing = [one for one in done.absent if one.record != "replayed"]
    return Answer(done, _view(done, queues.names), code(done.dead, missing))


def _sender(chosen: DeadLetterSettings) -> Callable[[Sequence[Outgoing]], object] | None:
    """Return what sends on to other shards, None where there are none: no broker is needed then."""
    if chosen.own_shard.split is None:
        return None
    return partial(send_on, settings.load(deployment.QueueSettings))


def _view(done: Replayed, queues: Sequence[str]) -> Group:
    says = f"{count(done.rows, 'new row')}, {done.duplicates:,} had one already"
    if done.applied or done.ignored:
        says += f", {done.applied:,} applied, {done.ignored:,} ignored: known already"
    if done.sent_on:
        says += f", {done.sent_on:,} sent on to another shard"
    for reason, number in done.dead.items():
        says += f", {number:,} still {reason}"
    parts: list[RenderableType] = []
    if done.dry_run:
        parts += _fates((str(one["id"]), one["outcome"]) for one in done.letters)
        says = f"nothing was changed; it would be {says}"
    parts.append(Text(says))
    if done.elsewhere:
        left = f"{count(done.elsewhere, 'dead letter')} left: from another queue than"
        parts.append(Text(f"{left} {', '.join(queues)}"))
    return Group(*parts, *absences(done.absent))


@click.command("purge", short_help="Delete dead letters for good.")
@choosing
@click.option("--all", "everything", is_flag=True, help="Whatever there is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--note", type=Reason(), help=NOTE)
@click.option("--dry-run", is_flag=True, help=DRY_RUN)
@answering
def purge_(
    *, choice: Choice, everything: bool, yes: bool, note: str | None, dry_run: bool
) -> Answer:
    """Delete dead letters for good: their money never counts. Export them first.

    Those go that you were asked about, if they still are what you chose; what comes meanwhile does
    not. Who purged what is kept in the table operator_action.
    """
    need_choice(choice, everything=everything)
    chosen = settings.load(DeadLetterSettings)
    with deployment.postgres_connection(chosen) as conn:
        ids = store.ids(conn, choice)
        if ids and not (yes or dry_run):
            click.confirm(
                f"Delete {count(len(ids), 'dead letter')} for good?", abort=True, err=True
            )
        gone = purge.purge(conn, purge.Order(choice, ids, chosen.operator, note or "", dry_run))
        asked = replace(choice, ids=choice.ids or tuple(ids))
        missing = absent(conn, asked, {one.id for one in gone})
    parts: list[RenderableType] = []
    if dry_run:
        parts += _fates((str(one.id), f"deleted ({one.reason})") for one in gone)
    says = f"{count(len(gone), 'dead letter')} {'would be ' if dry_run else ''}deleted"
    if not ids:
        says = "no such dead letters"
    document: dict[str, Any] = {"purged": 0 if dry_run else len(gone), "absent": missing}
    if dry_run:
        fates = [{"id": one.id, "outcome": "deleted", "reason": one.reason} for one in gone]
        document |= {"dry_run": True, "letters": fates}
    unknown = [one for one in missing if one.record != "purged"]
    return Answer(document, Group(*parts, Text(says), *absences(missing)), code(unknown))


def _fates(fates: Iterable[tuple[str, str]]) -> list[RenderableType]:
    """Return a table of what dead letters would become, the first ones each, and how many more."""
    every = list(fates)
    table = tables.table("dead letter", "would become", numbers=("dead letter",))
    for fate in every[:SHOWN_MAX]:
        table.add_row(*fate)
    rest = Counter(outcome for _, outcome in every[SHOWN_MAX:])
    more = [Text(f"and {number:,} more {outcome}") for outcome, number in rest.most_common()]
    return [table, *more]


def code(*undone: Sized) -> int:
    """Return the exit code: a finding if anything is undone."""
    return program.EXIT_FINDING if any(undone) else 0


def absences(missing: Sequence[Absent]) -> list[Text]:
    """Return what is said of each that was asked for and is not there."""
    return [Text(one.says) for one in missing]
