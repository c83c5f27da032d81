"""`ops dead-letters list|show|replay|export|purge`."""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any, TypeVar, get_args

import click
import msgspec
import psycopg
from rich.console import Group
from rich.text import Text

from ops import action, deployment, files, tables
from ops.answer import Answer, answering, as_json
from ops.letters import store
from ops.letters.core import Choice, Letter, preview
from ops.letters.replay import Edit, Order, replay
from ops.params import Moment, Words
from ops.progress import bar
from ops.wording import count, moment, visible
from services.ingest.body import Reason
from services.ingest.store import OPTIONS
from shared import program, settings, table_checks, tracing
from shared.errors import Refusal

R = TypeVar("R")

PREVIEW_BYTES = 60
PURGED = "dead_letter_purged"


class LetterSettings(
    settings.PostgresSettings,
    settings.TracingSettings,
    deployment.BodySettings,
    deployment.OperatorSettings,
):
    """Where the letters are, and who is at work."""


class ExportSettings(settings.PostgresSettings, deployment.PlaceSettings):
    """Where the letters are, and where a file would be."""


def choosing(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that choose letters, and hand them over as one `choice`."""

    @click.argument("ids", type=int, nargs=-1)
    @click.option("--state", type=click.Choice(["open", "waiting"]), help="Only these.")
    @click.option("--reason", type=click.Choice(get_args(Reason)), help="Only with this reason.")
    @click.option("--provider", type=int, help="Only of this provider, where the body says one.")
    @click.option("--since", type=Moment(), help="Received then or later: a time, or 2h ago.")
    @click.option("--until", type=Moment(), help="Received before then.")
    @functools.wraps(command)
    def run(**given: Any) -> R:  # noqa: ANN401 - what click collected
        choice = Choice(*(given.pop(name) for name in Choice.__slots__))
        return command(choice=choice, **given)

    return run


@click.group("dead-letters", short_help="Look at dead letters; replay, export, purge them.")
def dead_letters() -> None:
    """Look at dead letters and waiting messages; replay, export, purge them."""


@dead_letters.command("list", short_help="List letters, oldest first.")
@choosing
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True)
@answering
def list_(*, choice: Choice, limit: int) -> Answer:
    """List letters, oldest first, and how many there are by reason."""
    with deployment.ledger(settings.load(settings.PostgresSettings)) as conn:
        counts = _counts(conn, choice)
        letters = list(islice(chain.from_iterable(store.pages(conn, choice)), limit))
    columns = ("id", "received (UTC)", "state", "reason", "provider", "message_id", "body")
    table = tables.table(*columns, numbers=("id", "provider"))
    for one in letters:
        table.add_row(
            str(one.id), moment(one.received_at), one.state, one.reason, str(one.provider or "-"),
            visible(one.message_id), visible(preview(one.body, PREVIEW_BYTES)),
        )  # fmt: skip
    document = {
        "counts": [
            {"state": state, "reason": reason, "letters": number}
            for state, reason, number in counts
        ],
        "letters": [one.as_line() for one in letters],
    }
    said = ", ".join(f"{state} {reason} {number:,}" for state, reason, number in counts)
    return Answer(document, Group(table, Text(said or "none")))


@dead_letters.command(short_help="Show all of one letter.")
@click.argument("letter_id", metavar="ID", type=int)
@answering
def show(*, letter_id: int) -> Answer:
    """Show all of one letter: why it is one, its properties, its body."""
    with deployment.ledger(settings.load(settings.PostgresSettings)) as conn:
        found = [one for page in store.pages(conn, Choice((letter_id,))) for one in page]
    if not found:
        raise Refusal(f"there is no dead letter {letter_id}: it was replayed, promoted or purged")
    line = found[0].as_line()
    shown = {**line, "received_at": moment(found[0].received_at)}
    shown["properties"] = msgspec.json.encode(line["properties"]).decode()
    del shown["body_base64"]
    shown["body"] = preview(found[0].body, len(found[0].body))
    table = tables.table("", " ")
    table.show_header = False
    for name, value in shown.items():
        table.add_row(name, visible(None if value is None else str(value)))
    return Answer(line, table)


@dead_letters.command("replay", short_help="Deliver letters once more, perhaps mended.")
@choosing
@click.option("--all", "everything", is_flag=True, help="Whatever there is.")
@click.option(
    "--body", type=Words(), help="What to send instead (one ID only); what came is kept on record."
)
@click.option(
    "--message-id", type=Words(), help="The identity to send it under instead (one ID only)."
)
@answering
def replay_(
    *, choice: Choice, everything: bool, body: str | None, message_id: str | None
) -> Answer:
    """Deliver letters once more, in one transaction: rows, or letters still. Exit 1 if any is.

    Harmless twice. Who replayed what is kept in the table operator_action.
    """
    _need_choice(choice, everything=everything)
    edit = Edit(None if body is None else body.encode(), message_id)
    if edit != Edit() and len(choice.ids) != 1:
        raise click.UsageError("--body and --message-id are for exactly one ID")
    chosen = settings.load(LetterSettings)
    tracing.configure(on=chosen.tracing == "on")
    with deployment.ledger(chosen, options=OPTIONS) as conn:
        table_checks.refuse(conn)
        total = sum(number for _, _, number in store.count(conn, choice))
        with bar("replaying", total) as progress:
            done = replay(
                conn,
                Order(choice, edit, chosen.operator, chosen.ingest_body_max_bytes, progress),
            )
    says = f"{count(done.rows, 'new row')}, {done.duplicates:,} had one already"
    for reason, number in done.dead.items():
        says += f", {number:,} still {reason}"
    if absent := [one for one in choice.ids if one not in done.ids]:
        says += f"; no such letter (any more): {', '.join(map(str, absent))}"
    return Answer(done, Text(says), program.EXIT_FINDING if done.dead else 0)


@dead_letters.command(short_help="Write letters as JSON lines.")
@choosing
@click.option("--output", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@answering
def export(*, choice: Choice, output: str) -> Answer:
    """Write letters as JSON lines, bodies in base64; `ops send` takes such lines.

    With --json the lines go to --output, and the document says how many.
    """
    if output == "-" and as_json():
        raise click.UsageError("--json needs --output FILE: the lines would be in its way")
    chosen = settings.load(ExportSettings)
    written = 0
    with (
        deployment.ledger(chosen) as conn,
        files.writing(output, in_container=chosen.in_compose) as file,
    ):
        for line in _lines(conn, choice):
            file.write(line)
            written += 1
    said = None if output == "-" else Text(f"{count(written, 'letter')} written to {output}")
    return Answer({"letters": written, "output": output}, said)


@dead_letters.command(short_help="Delete letters for good.")
@choosing
@click.option("--all", "everything", is_flag=True, help="Whatever there is.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@answering
def purge(*, choice: Choice, everything: bool, yes: bool) -> Answer:
    """Delete letters for good: their money never counts. Export them first."""
    _need_choice(choice, everything=everything)
    chosen = settings.load(LetterSettings)
    with deployment.ledger(chosen) as conn:
        ids = [one.id for page in store.pages(conn, choice) for one in page]
        if ids and not yes:
            click.confirm(f"Delete {count(len(ids), 'letter')} for good?", abort=True, err=True)
        letters = _purge(conn, Choice(tuple(ids)), chosen.operator) if ids else 0
    return Answer({"purged": letters}, Text(f"{count(letters, 'letter')} deleted"))


def _counts(conn: psycopg.Connection, choice: Choice) -> list[tuple[str, str, int]]:
    """Return state, reason and number of what is chosen; most first."""
    if choice.provider is None:
        return store.count(conn, choice)
    # Whose an unfit message is stands in its body only: each has to be read.
    pages = store.pages(conn, choice)
    found = Counter((one.state, one.reason) for page in pages for one in page)
    ordered = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    return [(state, reason, number) for (state, reason), number in ordered]


def _need_choice(choice: Choice, *, everything: bool) -> None:
    if choice.everything != everything:
        raise click.UsageError("name IDs or say which (--reason ...), or --all, not both")


def _lines(conn: psycopg.Connection, choice: Choice) -> Iterator[bytes]:
    for page in store.pages(conn, choice):
        for one in page:
            yield msgspec.json.encode(one.as_line()) + b"\n"


def _purge(conn: psycopg.Connection, choice: Choice, operator: str) -> int:
    purged = 0
    with conn.transaction():
        for page in store.pages(conn, choice, locked=True):
            store.delete(conn, [one.id for one in page])
            action.note(conn, [_purged(one, operator) for one in page])
            purged += len(page)
    return purged


def _purged(letter: Letter, operator: str) -> dict[str, Any]:
    return {
        "action": PURGED,
        "subject": str(letter.id),
        "outcome": "deleted",
        "operator": operator,
        "detail": {"message_id": letter.message_id, "reason": letter.reason},
    }
