"""`ops statement`."""

import tempfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

import click

from ops import deployment
from ops.answer import Answer, answering, as_json
from ops.params import Moment, ProviderId
from ops.statement import forms
from ops.wording import moment
from shared import postgres, settings
from shared.errors import Refusal
from shared.ledger.statement import statement

IN_MEMORY_CHARACTERS_MAX = 2**23
READ_AT_ONCE = 65_536


@click.command("statement", short_help="Show what moved a provider's balance between two times.")
@click.argument("provider_id", metavar="PROVIDER", type=ProviderId())
@click.option(
    "--from",
    "after",
    type=Moment(),
    help="2026-11-20T23:42 (UTC), or 2h ago; the oldest tick that is kept, if not given.",
)
@click.option("--to", "until", type=Moment(), help="Likewise; now, if not given.")
@click.option("--csv", "as_csv", is_flag=True, help="Write CSV, a line for each movement.")
@answering
def statement_(
    *, provider_id: int, after: datetime | None, until: datetime | None, as_csv: bool
) -> Answer:
    """Show the opening balance of PROVIDER (1, or 1_Visa), each movement, the closing balance.

    Opening and closing are those of the last ticks at or before the two times; the movements are
    what the ticks between them counted. What cannot be itemised any more is a line of its own.
    """
    if as_csv and as_json():
        raise click.UsageError("--csv or --json, not both")
    until = until or datetime.now(UTC)
    if after and after > until:
        raise click.UsageError(f"--from {moment(after)} is after --to {moment(until)}")
    write = forms.as_csv if as_csv else forms.as_json if as_json() else forms.as_text
    with (
        deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn,
        postgres.translating(),
        conn.transaction(),
    ):
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with statement(conn, provider_id, after, until) as found:
            pieces = write(found)
            for piece in _whole(pieces) if as_csv or as_json() else pieces:
                click.echo(piece, nl=False)
    return Answer(None, None)


def _whole(pieces: Iterable[str]) -> Iterator[str]:
    """Yield what a program reads once all of it is there: half a document is none."""
    with tempfile.SpooledTemporaryFile(IN_MEMORY_CHARACTERS_MAX, "w+", newline="") as spool:
        try:
            spool.writelines(pieces)
            spool.seek(0)
        except OSError as error:
            where = f"the statement cannot be copied to {tempfile.gettempdir()}"
            raise Refusal(f"{where}: {error.strerror}") from error
        yield from iter(partial(spool.read, READ_AT_ONCE), "")
