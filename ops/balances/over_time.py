"""`ops balances PROVIDER --series`."""

from datetime import UTC, datetime, timedelta

from rich.console import Group
from rich.text import Text

from ops import deployment, tables
from ops.answer import Answer
from ops.wording import count, moment
from shared import settings
from shared.errors import Refusal
from shared.ledger.series import series

LATELY = timedelta(hours=24)
EARLIEST = datetime.min.replace(tzinfo=UTC) + LATELY
"""Before the day before it there is no time."""


class SeriesSettings(settings.PostgresSettings, settings.TickSettings):
    """Where balances are, and how often there is a tick."""


def over_time(
    provider_id: int, first: datetime | None, last: datetime | None, step: timedelta | None
) -> Answer:
    """Answer with a provider's balance in the ticks of [first, last], `step` apart."""
    chosen = settings.load(SeriesSettings)
    last = last or datetime.now(UTC)
    first = first or max(last, EARLIEST) - LATELY
    if first > last:
        raise Refusal(f"--from {moment(first)} is after --to {moment(last)}")
    step = step or timedelta(seconds=chosen.tick_interval_seconds)
    with deployment.postgres_connection(chosen) as conn:
        found = series(conn, provider_id, first, last, step)
    table = tables.table("at", "balance", " ", numbers=("balance",))
    for one in found.points:
        says = "no tick" if one.epoch is None else "" if one.balance else "no such provider then"
        table.add_row(moment(one.at), one.balance or "", says)
    gaps = sum(one.epoch is None for one in found.points)
    said = [Text(f"{count(len(found.points), 'time')}, {gaps:,} of them without a tick")]
    if found.kept_since:
        said.append(Text(f"nothing is kept before {moment(found.kept_since)}"))
    return Answer(found, Group(table, *said))
