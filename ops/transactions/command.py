"""`ops transaction reverse`."""

import click
from rich.text import Text

from ops import deployment
from ops.answer import Answer, answering
from ops.params import Reason, Words
from ops.transactions.reversal import Order, reverse
from ops.wording import visible
from shared import settings


class TransactionSettings(settings.PostgresSettings, deployment.OperatorSettings):
    """Where transactions are, and who the operator is."""


@click.group(short_help="Take a transaction back.")
def transaction() -> None:
    """Correct single transactions; KeyDB follows at the next boundary."""


@transaction.command("reverse", short_help="Add the row that takes a transaction back.")
@click.argument("identity", metavar="ID", type=Words())
@click.option("--reason", type=Reason(), required=True, help="Why; kept in operator_action.")
@click.option("--dry-run", is_flag=True, help="Only say what would be done; change nothing.")
@answering
def reverse_(*, identity: str, reason: str, dry_run: bool) -> Answer:
    """Add a row with the negated value of the transaction whose identity (message_id) is ID.

    The row's identity is reversal-of:ID, so a transaction is taken back once. Exit 1 where there is
    nothing to take back: no row yet, reversed already, a reversal itself, or its provider is gone.
    """
    chosen = settings.load(TransactionSettings)
    with deployment.postgres_connection(chosen) as conn:
        done = reverse(conn, Order(identity, chosen.operator, reason, dry_run))
    row, made = done.row, done.reversal
    says = (
        f"row {row.id} ({visible(identity)}, {row.value:+} for provider {row.provider_id})"
        f" {'would be' if dry_run else 'is'} reversed by {made.value:+}"
    )
    if not dry_run:
        says += f", row {made.id}; KeyDB follows at the next boundary"
    document = {
        "message_id": row.message_id,
        "row": row.id,
        "reversal": made.message_id,
        "reversal_row": None if dry_run else made.id,
        "provider_id": made.provider_id,
        "value": made.value,
        "dry_run": dry_run,
    }
    return Answer(document, Text(says))
