"""`ops prices symbols|assign|unassign`: which symbol and scale each provider's balance has."""

from dataclasses import asdict, dataclass
from typing import Any, LiteralString

import click
import psycopg
from rich.console import Group
from rich.text import Text

from ops import action, deployment, shards, tables
from ops.answer import Answer, answering
from ops.params import ProviderId, Words
from ops.wording import count, visible
from shared import change_record, postgres, settings
from shared.errors import Refusal
from shared.unfit import Unfit

SCALE_MAX = 18

SELECT_SYMBOLS: LiteralString = """
SELECT provider_id, symbol, scale
  FROM provider_symbol
 ORDER BY provider_id
"""
UPSERT: LiteralString = """
INSERT INTO provider_symbol (provider_id, symbol, scale)
VALUES (%(provider_id)s, %(symbol)s, %(scale)s)
ON CONFLICT (provider_id) DO UPDATE
   SET symbol = excluded.symbol,
       scale = excluded.scale
"""
DELETE: LiteralString = """
DELETE FROM provider_symbol
 WHERE provider_id = %(provider_id)s
RETURNING symbol, scale
"""
SELECT_PROVIDER: LiteralString = "SELECT FROM initial_data WHERE id = %(provider_id)s"


class SymbolSettings(settings.PostgresSettings, deployment.OperatorSettings):
    """Where symbols are, and who the operator is."""


@dataclass(frozen=True, slots=True)
class ProviderSymbol:
    """A provider's balance is in units of 10^-scale of its symbol."""

    provider_id: int
    symbol: str
    scale: int


@click.command("symbols", short_help="List the symbols of providers.")
@answering
def symbols() -> Answer:
    """List which symbol and scale the balance of each provider has."""
    with (
        deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn,
        postgres.translating(),
    ):
        found = [ProviderSymbol(*row) for row in conn.execute(SELECT_SYMBOLS)]
    table = tables.table("provider", "symbol", "scale", numbers=("provider", "scale"))
    for one in found:
        table.add_row(str(one.provider_id), visible(one.symbol), str(one.scale))
    return Answer({"symbols": found}, Group(table, Text(count(len(found), "symbol"))))


@click.command("assign", short_help="Say which symbol a provider's balance has.")
@click.argument("provider_id", metavar="PROVIDER", type=ProviderId())
@click.argument("symbol", type=Words())
@click.option(
    "--scale", type=click.IntRange(0, SCALE_MAX), required=True,
    help="Digits after the point: with 2, a balance of 1900 is 19.00.",
)  # fmt: skip
@answering
def assign(*, provider_id: int, symbol: str, scale: int) -> Answer:
    """Say that the balance of PROVIDER (1, or 1_Visa) is in SYMBOL, with --scale digits.

    It holds for every day, also those before.
    """
    shards.need_one("a provider")
    chosen = settings.load(SymbolSettings)
    try:
        change_record.name({"SYMBOL": symbol}, "SYMBOL")
    except Unfit as unfit:
        raise click.UsageError(unfit.error) from unfit
    made = ProviderSymbol(provider_id, symbol, scale)
    with (
        deployment.postgres_connection(chosen) as conn,
        postgres.translating(),
        conn.transaction(),
    ):
        conn.execute(UPSERT, asdict(made))
        _note(conn, "symbol_assigned", made, chosen.operator)
        known = conn.execute(SELECT_PROVIDER, {"provider_id": provider_id}).rowcount > 0
    says = f"provider {provider_id} is in {visible(symbol)} with {count(scale, 'digit')}"
    if known:
        return Answer({"symbol": made}, Text(says))
    note = f"there is no provider {provider_id} now"
    return Answer({"symbol": made, "note": note}, Text(f"{says}\nnote: {note}"))


@click.command("unassign", short_help="Take a provider's symbol away.")
@click.argument("provider_id", metavar="PROVIDER", type=ProviderId())
@answering
def unassign(*, provider_id: int) -> Answer:
    """Take the symbol of PROVIDER away: its balance has no value then."""
    shards.need_one("a provider")
    chosen = settings.load(SymbolSettings)
    with (
        deployment.postgres_connection(chosen) as conn,
        postgres.translating(),
        conn.transaction(),
    ):
        row = conn.execute(DELETE, {"provider_id": provider_id}).fetchone()
        if row is None:
            raise Refusal(f"provider {provider_id} has no symbol")
        gone = ProviderSymbol(provider_id, *row)
        _note(conn, "symbol_unassigned", gone, chosen.operator)
    return Answer({"symbol": gone}, Text(f"provider {provider_id} has no symbol now"))


def _note(conn: psycopg.Connection, what: str, about: ProviderSymbol, operator: str) -> None:
    detail: dict[str, Any] = {"symbol": about.symbol, "scale": about.scale}
    noted = {
        "action": what, "subject": str(about.provider_id), "outcome": "done",
        "operator": operator, "detail": detail,
    }  # fmt: skip
    action.note(conn, [noted])
