"""`ops notifications list`."""

from typing import Any, get_args

import click
from rich.console import Group
from rich.text import Text

from ops import deployment, tables
from ops.answer import Answer, answering
from ops.params import Moment, ProviderId
from ops.wording import moment, visible
from shared import settings
from shared.alert import CONDITIONS
from shared.ledger import notifications as store
from shared.ledger.notifications import Choice, State

LIMIT_MAX = 1_000_000
COLUMNS = ("tick", "provider", "condition", "threshold", "balance", "previous", "alert", "state")
NUMBERS = ("provider", "threshold", "balance", "previous", "alert")


@click.group(short_help="Look at notifications.")
def notifications() -> None:
    """Look at what the notifier has told, or is about to tell."""


@notifications.command("list", short_help="List notifications, newest first.")
@click.option("--alert", "alert_id", type=click.IntRange(1, 2**63 - 1), help="Only of this alert.")
@click.option("--provider", "provider_id", type=ProviderId(), help="Only of this provider.")
@click.option("--condition", type=click.Choice(CONDITIONS), help="Only of alerts with this one.")
@click.option(
    "--state", type=click.Choice(get_args(State)),
    help="unsent: not confirmed by the broker yet; sent; delivered: its consumer said so.",
)  # fmt: skip
@click.option("--since", type=Moment(), help="Made then or later: a time (UTC), or 2h ago.")
@click.option("--until", type=Moment(), help="Made before then.")
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=50, show_default=True,
    help="Notifications shown at most.",
)  # fmt: skip
@answering
def list_(*, limit: int, **given: Any) -> Answer:  # noqa: ANN401 - click's
    """List notifications, newest first, and how many there are by state."""
    choice = Choice(**given)
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        counts = store.count(conn, choice)
        found = store.newest(conn, choice, limit)
    table = tables.table(*COLUMNS, numbers=NUMBERS)
    for one in found:
        state = f"{one.state}: {visible(one.error)}" if one.error else one.state
        table.add_row(
            moment(one.boundary), str(one.provider_id), one.condition or "-", one.threshold or "-",
            one.balance, one.previous or "-", str(one.alert_id), state,
        )  # fmt: skip
    says = ", ".join(f"{number:,} {state}" for state, number in counts.items() if number)
    document = {"counts": counts, "notifications": found}
    return Answer(document, Group(table, Text(says or "no notifications")))
