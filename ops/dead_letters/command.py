"""`ops dead-letters list|show|replay|export|purge`."""

from collections import Counter
from itertools import chain, islice

import click
import msgspec
import psycopg
from rich.console import Group
from rich.text import Text

from ops import deployment, files, shards, tables
from ops.answer import Answer, answering, as_json
from ops.dead_letters import acts, store
from ops.dead_letters.absent import Absent, absent
from ops.dead_letters.choosing import DEAD_LETTER_ID, choosing
from ops.dead_letters.core import Choice, preview
from ops.wording import count, digits, moment, visible
from shared import settings
from shared.errors import Refusal

PREVIEW_BYTES = 60
LIMIT_MAX = 1_000_000


class ExportSettings(settings.PostgresSettings, deployment.PlaceSettings):
    """Where the dead letters are, and where a file would be."""


@click.group("dead-letters", short_help="Look at dead letters; replay, export, purge them.")
def dead_letters() -> None:
    """Look at dead letters and waiting messages; replay, export, purge them."""


@dead_letters.command("list", short_help="List dead letters, oldest first.")
@choosing
@click.option(
    "--limit",
    type=click.IntRange(1, LIMIT_MAX),
    default=50,
    show_default=True,
    help="Dead letters shown at most.",
)
@answering
def list_(*, choice: Choice, limit: int) -> Answer:
    """List dead letters, oldest first, and how many there are by reason."""
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        counts = _counts(conn, choice)
        dead_letters = list(islice(chain.from_iterable(store.pages(conn, choice)), limit))
        listed = {one.id for one in dead_letters} if len(dead_letters) < limit else choice.ids
        missing = absent(conn, choice, listed)
    columns = ("id", "received (UTC)", "state", "reason", "provider", "message_id", "body")
    table = tables.table(*columns, numbers=("id", "provider"))
    for one in dead_letters:
        table.add_row(
            str(one.id), moment(one.received_at), one.state, one.reason, digits(one.provider),
            visible(one.message_id), visible(preview(one.body, PREVIEW_BYTES)),
        )  # fmt: skip
    document = {
        "counts": [
            {"state": state, "reason": reason, "letters": number}
            for state, reason, number in counts
        ],
        "letters": [one.as_line() for one in dead_letters],
        "absent": missing,
    }
    said = ", ".join(f"{state} {reason} {number:,}" for state, reason, number in counts)
    view = Group(table, Text(said or "no dead letters"), *acts.absences(missing))
    return Answer(document, view, acts.code(missing))


@dead_letters.command(short_help="Show all of one dead letter.")
@click.argument("dead_letter_id", metavar="ID", type=DEAD_LETTER_ID)
@answering
def show(*, dead_letter_id: int) -> Answer:
    """Show all of one dead letter: why it is one, its properties, its body."""
    shards.need_one("an ID")
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        choice = Choice((dead_letter_id,))
        found = [one for page in store.pages(conn, choice) for one in page]
        for missing in absent(conn, choice, [one.id for one in found]):
            raise Refusal(missing.says)
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


@dead_letters.command(short_help="Write dead letters as JSON lines.")
@choosing
@click.option(
    "--output", type=click.Path(dir_okay=False, allow_dash=True), default="-", metavar="FILE",
    help="Where the lines go; - is standard output, which is the default.",
)  # fmt: skip
@answering
def export(*, choice: Choice, output: str) -> Answer:
    """Write dead letters as JSON lines, bodies in base64; `ops send` takes such lines.

    With --json the lines go to --output, and the document says how many.
    """
    if output == "-" and as_json():
        raise click.UsageError("--json needs --output FILE: the lines would be in its way")
    if output != "-":
        shards.need_one("a file")
    chosen = settings.load(ExportSettings)
    found: set[int] = set()
    missing: list[Absent] = []  # a reader that leaves ends the block
    with (
        deployment.postgres_connection(chosen) as conn,
        files.writing(output, in_container=chosen.in_compose) as file,
    ):
        for one in chain.from_iterable(store.pages(conn, choice)):
            file.write(msgspec.json.encode(one.as_line()) + b"\n")
            found.add(one.id)
        missing = absent(conn, choice, found)
    document = {"letters": len(found), "output": click.format_filename(output), "absent": missing}
    says = (
        [] if output == "-" else [Text(f"{count(len(found), 'dead letter')} written to {output}")]
    )
    view = Group(*says, *acts.absences(missing))
    # Standard output is for the dead letters.
    return Answer(document, view, acts.code(missing), failed=output == "-")


dead_letters.add_command(acts.replay_)
dead_letters.add_command(acts.purge_)


def _counts(conn: psycopg.Connection, choice: Choice) -> list[tuple[str, str, int]]:
    """Return state, reason and number of what is chosen; most first."""
    if choice.provider is None:
        return store.count(conn, choice)
    # Whose an unfit message is stands in its body only: each has to be read.
    pages = store.pages(conn, choice)
    found = Counter((one.state, one.reason) for page in pages for one in page)
    ordered = sorted(found.items(), key=lambda one: (-one[1], one[0]))
    return [(state, reason, number) for (state, reason), number in ordered]
