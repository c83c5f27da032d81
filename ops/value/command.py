"""`ops value`."""

from collections.abc import Iterable
from datetime import date

import click
import psycopg
from rich.console import Group, RenderableType
from rich.text import Text

from ops import deployment, tables
from ops.answer import Answer, answering
from ops.params import Currency, Day
from ops.progress import bar
from ops.value import walk
from ops.wording import count, visible
from shared import postgres, settings
from shared.errors import Refusal
from shared.ledger import valuation
from shared.ledger.returns import NoRate, Return, TotalReturn
from shared.ledger.valuation import Value

OPTIONS = "-c enable_seqscan=off"
"""Of a table that was never analysed all would be read, for a page of it."""
VALUES = ("key", "balance", "symbol", "price", "of", "value", "currency", " ")
RETURNS = ("key", "at the start", "at the end", "flows", "gain", "rate of return", "currency", " ")
SAYS: dict[NoRate, str] = {
    "no_symbol": "no symbol (ops prices assign)",
    "no_price": "no price (ops prices import)",
    "denominator_not_positive": "nothing was there to earn it with",
}


@click.command("value", short_help="Show what balances are worth, and what they earned.")
@click.option("--as-of", "as_of", type=Day(), help="At the end of this day (UTC); now otherwise.")
@click.option("--in", "currency", type=Currency(), help="In this currency; in each otherwise.")
@click.option("--from", "first", type=Day(), help="With --to: what was earned since its end.")
@click.option("--to", "last", type=Day(), help="With --from: until the end of this day.")
@answering
def value(
    *, as_of: date | None, currency: str | None, first: date | None, last: date | None
) -> Answer:
    """Show what each balance is worth by the prices of a day, and the total of each currency.

    The price of a day is the newest that is not after it. Values and totals are exact. With --from
    and --to, what was earned between the ends of two days: what prices did, without what came in or
    went out. Rates of return are rounded to 10 digits, half away from zero. A day that is not kept
    any more (HISTORY_RETENTION_DAYS), or is in the future, is refused.
    """
    if (first is None) != (last is None) or (first and as_of):
        raise click.UsageError("--as-of alone, or --from and --to")
    with (
        deployment.postgres_connection(
            settings.load(settings.PostgresSettings), options=OPTIONS
        ) as conn,
        postgres.translating(),
        conn.transaction(),
    ):
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        today = valuation.today(conn)
        if (last or as_of or today) > today:
            raise Refusal(
                f"{last or as_of} is in the future: it is {today} by Postgres's clock (UTC)"
            )
        if first and last:
            return _earned(conn, first, last, currency)
        return _worth(conn, as_of or today, currency)


def _worth(conn: psycopg.Connection, day: date, currency: str | None) -> Answer:
    with bar("values", None) as progress:
        tick, found = walk.values(conn, day, currency, progress)
        summed = valuation.totals(conn, tick.epoch, day, currency)
    table = tables.table(*VALUES, numbers=("balance", "price", "value"))
    for one in found:
        table.add_row(
            visible(one.key), one.balance, visible(one.symbol), one.price or "-", _day(one),
            one.value or "-", one.currency or "-", SAYS[one.reason] if one.reason else "",
        )  # fmt: skip
    said = [
        f"{one.value} {one.currency}: {count(one.providers, 'provider')}" for one in summed.totals
    ]
    said += _not_valued(summed.not_valued.items())
    document = {
        "day": day, "currency": currency, "tick": tick.tick, "epoch": tick.epoch,
        "providers": found, "totals": summed.totals, "not_valued": summed.not_valued,
    }  # fmt: skip
    return Answer(document, _view(table, said))


def _earned(conn: psycopg.Connection, first: date, last: date, currency: str | None) -> Answer:
    if first > last:
        raise Refusal(f"--from {first} is after --to {last}")
    with bar("providers", None) as progress:
        found, summed, not_valued = walk.returns(conn, first, last, currency, progress)
    table = tables.table(*RETURNS, numbers=RETURNS[1:6])
    for one in found:
        table.add_row(visible(one.key), *_cells(one))
    for total in summed:
        table.add_row(Text(count(total.providers, "provider"), style="bold"), *_cells(total))
    document = {
        "from": first, "to": last, "currency": currency, "providers": found, "totals": summed,
        "not_valued": not_valued,
    }  # fmt: skip
    return Answer(document, _view(table, _not_valued(not_valued.items())))


def _day(one: Value) -> str:
    return str(one.price_day) if one.price_day else "-"


def _cells(one: Return | TotalReturn) -> tuple[str, ...]:
    numbers = (one.value_start, one.value_end, one.flows, one.gain, one.rate_of_return)
    says = SAYS[one.reason] if one.reason else ""
    return (*(number or "-" for number in numbers), one.currency or "-", says)


def _not_valued(counts: Iterable[tuple[NoRate, int]]) -> list[str]:
    return [f"{count(number, 'provider')} without value: {SAYS[why]}" for why, number in counts]


def _view(table: RenderableType, said: list[str]) -> Group:
    return Group(table, Text("\n".join(said) or "no providers"))
