"""`ops prices import|list|show|delete`, and `symbols|assign|unassign`."""

import hashlib
import sys
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import click
from rich.console import Group
from rich.text import Text

from ops import deployment, shards, tables
from ops.answer import Answer, answering
from ops.params import Currency, Day, Words
from ops.prices import csv_file, store, symbols
from ops.prices.csv_file import File, Invalid
from ops.prices.store import Choice, StoredPrice
from ops.progress import bar
from ops.wording import count, visible
from shared import change_record, settings
from shared.errors import Refusal
from shared.unfit import Unfit

SOURCE = "ops"
SHOWN_MAX = 20
LIMIT_MAX = 1_000_000
FILE_BYTES_MAX = 2**28
COLUMNS = ("symbol", "currency", "day", "price", "source", "source_id", "version")
EXAMPLES = """
\b
Examples:
  ops prices import prices.csv --dry-run
  ops prices import - --source ecb < prices.csv
  ops prices assign 1_Visa EUR --scale 2
"""


class PriceSettings(settings.PostgresSettings, deployment.OperatorSettings):
    """Where prices are, and who the operator is."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an import led to; with `errors` nothing was written. A dry run writes nothing either."""

    file: str
    lines: int
    dry_run: bool
    applied: int = 0
    ignored: int = 0
    errors_total: int = 0
    errors: list[Invalid] = field(default_factory=list)


@click.group(epilog=EXAMPLES, short_help="Import, list, delete prices; say what balances are in.")
def prices() -> None:
    """Import, list and delete prices, and say in which symbol each provider's balance is.

    By them `ops value` says what balances are worth.
    """


for _command in (symbols.symbols, symbols.assign, symbols.unassign):
    prices.add_command(_command)


@prices.command("import", short_help="Import a CSV file of prices.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--source", type=Words(), default=SOURCE, show_default=True,
    help="Who gave them: another source's price of the same day is not replaced.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Only say what would become of it.")
@answering
def import_(*, file: str, source: str, dry_run: bool) -> Answer:
    """Import prices from FILE (- is standard input), all of them or none.

    CSV with a header: symbol,currency,day,price, in any order, and perhaps source_id and version.
    A price without source_id is named by symbol, currency and day, so the same file again changes
    nothing, and a corrected one corrects. Exit 1, and nothing is imported, if any line is wrong.
    """
    if file == "-":
        shards.need_one("standard input")
    chosen = settings.load(PriceSettings)
    try:
        change_record.name({"--source": source}, "--source")
    except Unfit as unfit:
        raise click.UsageError(unfit.error) from unfit
    content = _read(file)
    with bar("lines read", None) as progress:
        lines = TextIOWrapper(BytesIO(content), "utf-8-sig", newline="")
        found = csv_file.parse(lines, source, progress)
    done = store.Imported(0, 0)
    if found.prices and not found.invalid:
        noted = _action(Path(file).name, source, found, content, chosen.operator)
        with (
            deployment.postgres_connection(chosen) as conn,
            bar("prices written", len(found.prices)) as progress,
        ):
            done = store.put(conn, found, noted, progress, dry_run=dry_run)
    return _answer(file, found, done, dry_run=dry_run)


@prices.command("list", short_help="List prices.")
@click.option("--symbol", type=Words(), help="Only of this symbol.")
@click.option("--currency", type=Currency(), help="Only in this currency.")
@click.option("--from", "first", type=Day(), help="Only of this day or later.")
@click.option("--to", "last", type=Day(), help="Only of this day or before.")
@click.option("--source", type=Words(), help="Only from this source; operators' is ops.")
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=50, show_default=True,
    help="Prices shown at most.",
)  # fmt: skip
@answering
def list_(*, limit: int, **given: Any) -> Answer:  # noqa: ANN401 - click's
    """List prices by symbol and currency, the newest day first."""
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = store.select(conn, Choice(**given), limit + 1)
    more = len(found) > limit
    said = count(len(found[:limit]), "price") + ("; there are more: --limit" if more else "")
    return Answer({"prices": found[:limit], "more": more}, Group(_table(found[:limit]), Text(said)))


@prices.command("show", short_help="Show the price that counts on a day.")
@click.argument("symbol", type=Words())
@click.argument("currency", type=Currency())
@click.option("--day", type=Day(), help="On this day; today (UTC), if not given.")
@answering
def show(*, symbol: str, currency: str, day: date | None) -> Answer:
    """Show the price of SYMBOL in CURRENCY that counts on a day: the newest that is not after it.

    Exit 1 if there is none.
    """
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = store.that_counts(conn, symbol, currency, day)
    if found is None:
        until = f"until {day}" if day else "until today"
        raise Refusal(f"{visible(symbol)} has no price in {currency} {until}")
    return Answer({"price": found}, _table([found]))


@prices.command("delete", short_help="Delete prices.")
@click.option("--symbol", type=Words(), help="Only of this symbol.")
@click.option("--currency", type=Currency(), help="Only in this currency.")
@click.option("--from", "first", type=Day(), help="Only of this day or later.")
@click.option("--to", "last", type=Day(), help="Only of this day or before.")
@click.option("--source", type=Words(), help="Only from this source; operators' is ops.")
@click.option("--dry-run", is_flag=True, help="Only say how many; change nothing.")
@answering
def delete(*, dry_run: bool, **given: Any) -> Answer:  # noqa: ANN401 - click's
    """Delete all prices that fit what is given: --symbol or --source at least.

    A change record with a version larger than the one that is known brings one back.
    """
    choice = Choice(**given)
    if choice.symbol is None and choice.source is None:
        raise click.UsageError("say which: --symbol or --source")
    chosen = settings.load(PriceSettings)
    with deployment.postgres_connection(chosen) as conn:
        gone = store.delete(conn, choice, operator=chosen.operator, dry_run=dry_run)
    says = f"{count(gone, 'price')} {'would be ' if dry_run else ''}deleted"
    return Answer({"deleted": gone, "dry_run": dry_run}, Text(says))


def _read(path: str) -> bytes:
    try:
        if path == "-":
            content = sys.stdin.buffer.read(FILE_BYTES_MAX + 1)
        else:
            with Path(path).open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Refusal(f"{visible(path)} cannot be read: {error.strerror}") from error
    if len(content) > FILE_BYTES_MAX:
        raise Refusal(f"more than {FILE_BYTES_MAX:,} bytes: split the file")
    return content


def _action(file: str, source: str, found: File, content: bytes, operator: str) -> dict[str, Any]:
    detail = {
        "source": source, "sha256": hashlib.sha256(content).hexdigest(),
        "lines": len(found.prices),
    }  # fmt: skip
    return {
        "action": "prices_imported", "subject": file, "outcome": "done", "operator": operator,
        "detail": detail,
    }  # fmt: skip


def _answer(file: str, found: File, done: store.Imported, *, dry_run: bool) -> Answer:
    lines = len(found.prices) + found.invalid_lines if not found.lines else len(found.lines)
    if found.invalid:
        outcome = Outcome(file, lines, dry_run, 0, 0, found.invalid_lines, found.invalid)
        return Answer(outcome, Text(_says_why(outcome), style="bold red"), 1, failed=True)
    outcome = Outcome(file, lines, dry_run, done.applied, done.ignored)
    ignored = f", {done.ignored:,} ignored: not of a larger version" if done.ignored else ""
    verb = "would be imported" if dry_run else "imported"
    return Answer(outcome, Text(f"{count(done.applied, 'price')} {verb}{ignored}"))


def _says_why(outcome: Outcome) -> str:
    shown = [f"line {one.line}: {visible(one.error)}" for one in outcome.errors[:SHOWN_MAX]]
    if outcome.errors_total > len(shown):
        shown.append(f"and {outcome.errors_total - len(shown):,} more")
    wrong = count(outcome.errors_total, "line is", "lines are")
    return "\n".join([f"nothing was imported: {wrong} wrong", *shown])


def _table(found: list[StoredPrice]) -> Any:  # noqa: ANN401 - rich's
    table = tables.table(*COLUMNS, numbers=("price", "version"))
    for one in found:
        table.add_row(
            visible(one.symbol), one.currency, str(one.day), one.price, visible(one.source),
            visible(one.source_id), "-" if one.version is None else str(one.version),
        )  # fmt: skip
    return table
