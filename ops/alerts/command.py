"""`ops alert add|list|remove`."""

from typing import Any

import click
from rich.console import Group
from rich.text import Text

from ops import deployment, tables
from ops.alerts import store
from ops.answer import Answer, answering
from ops.params import NEGATIVE, ProviderId, Span, Words
from ops.wording import age, count, digits, moment, visible
from shared import alert_store, change_record, settings
from shared.alert import CONDITIONS, Alert, HistorySettings, read
from shared.alert_store import Choice, StoredAlert
from shared.unfit import Unfit

ALERT_ID = click.IntRange(1, 2**63 - 1)
COLUMNS = ("id", "provider", "condition", "threshold", "for", "source", "name", "version", "since")


class AlertSettings(settings.PostgresSettings, HistorySettings, deployment.OperatorSettings):
    """Where alerts are, how far back balances are known, and who the operator is."""


@click.group("alert", short_help="Add, list, remove alerts on balances.")
def alert() -> None:
    """Add, list and remove alerts on balances: the notifier judges them at each tick."""


@alert.command(context_settings=NEGATIVE, short_help="Add an alert.")
@click.argument("condition", type=click.Choice(CONDITIONS))
@click.argument("threshold", type=Words(), required=False)
@click.option("--provider", type=ProviderId(), help="Of this provider: its id, or its key.")
@click.option("--each-provider", is_flag=True, help="Of each provider; at most 100 such alerts.")
@click.option("--for", "span", type=Span(), help="Of silent: for how long (90m, 1d).")
@click.option("--name", type=Words(), help="Its name (source_id), by which it is added once only.")
@answering
def add(*, name: str | None, **given: Any) -> Answer:  # noqa: ANN401 - click's
    """Add an alert, judged from the next tick on.

    below, above: the balance gets below or above THRESHOLD (minor units). change: it moves by
    THRESHOLD or more from one tick to the next. silent: it did not move --for so long.
    """
    chosen = settings.load(AlertSettings)
    asked = _asked(name, given, chosen.history_s)
    with deployment.postgres_connection(chosen) as conn:
        made = store.add(conn, asked, name, operator=chosen.operator)
        number = made.provider_id
        missing = number is not None and not store.has_provider(conn, number)
    says = f"alert {made.id} ({_says(made)}): judged from now on"
    if not missing:
        return Answer({"alert": made}, Text(says))
    note = f"there is no provider {number} now: nothing is told before there is one"
    return Answer({"alert": made, "note": note}, Text(f"{says}\nnote: {note}"))


@alert.command("list", short_help="List alerts.")
@click.option("--provider", type=ProviderId(), help="Only those that hold for this provider.")
@click.option("--condition", type=click.Choice(CONDITIONS), help="Only these.")
@click.option("--source", type=Words(), help="Only those of this source; operators' is ops.")
@click.option("--removed", is_flag=True, help="Those that were removed, too.")
@answering
def list_(
    *, provider: int | None, condition: str | None, source: str | None, removed: bool
) -> Answer:
    """List alerts, oldest first."""
    choice = Choice((), provider, source, None, condition, removed)
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = alert_store.select(conn, choice)
    table = tables.table(*COLUMNS, numbers=("id", "provider", "threshold", "version"))
    for one in found:
        table.add_row(
            str(one.id), _provider(one), _condition(one), one.threshold or "-",
            age(one.for_seconds), visible(one.source), visible(one.source_id),
            digits(one.version), moment(one.created_at),
        )  # fmt: skip
    return Answer({"alerts": found}, Group(table, Text(count(len(found), "alert"))))


@alert.command(short_help="Remove alerts.")
@click.argument("ids", metavar="ID...", type=ALERT_ID, nargs=-1, required=True)
@answering
def remove(*, ids: tuple[int, ...]) -> Answer:
    """Remove the alerts of these IDs, whatever source they came from; all of them, or none.

    A change record with a version larger than the one that is known brings one back.
    """
    chosen = settings.load(AlertSettings)
    with deployment.postgres_connection(chosen) as conn:
        gone = store.remove(conn, ids, operator=chosen.operator)
    says = "\n".join(f"alert {one.id} ({_says(one)}) removed" for one in gone)
    return Answer({"removed": gone}, Text(says))


def _asked(name: str | None, given: dict[str, Any], history_s: int) -> Alert:
    """Return what was asked for, by the rules of change records; ends with a usage error."""
    provider, span = given["provider"], given["span"]
    if (provider is None) != given["each_provider"]:
        raise click.UsageError("say of which: --provider ID or --each-provider")
    optional = {
        "threshold": given["threshold"],
        "for_seconds": span and int(span.total_seconds()),
    }
    fields = {key: one for key, one in optional.items() if one is not None}
    fields |= {"provider_id": provider, "condition": given["condition"]}
    try:
        if name is not None:
            change_record.name({"name": name}, "name")
        return read(fields, history_s)
    except Unfit as unfit:
        raise click.UsageError(_in_words_of_options(unfit.error)) from unfit


def _in_words_of_options(error: str) -> str:
    said = error.removeprefix("the field ").replace("threshold", "THRESHOLD")
    unit = " seconds (HISTORY_RETENTION_DAYS)" if said.startswith("for_seconds must be") else ""
    return said.replace("for_seconds", "--for") + unit


def _provider(one: StoredAlert) -> str:
    if one.condition is None:
        return "-"
    return "each" if one.provider_id is None else str(one.provider_id)


def _condition(one: StoredAlert) -> str:
    return (one.condition or "-") if one.active else f"{one.condition or ''} removed".strip()


def _says(one: StoredAlert) -> str:
    whose = "each provider" if one.provider_id is None else f"provider {one.provider_id}"
    limit = one.threshold if one.condition != "silent" else f"for {age(one.for_seconds)}"
    return f"{whose} {one.condition} {limit}"
