"""`ops reconcile`."""

from dataclasses import asdict

import click
import psycopg
from rich.console import Group
from rich.text import Text

from ops import action, deployment
from ops.answer import Answer, answering
from ops.params import Words
from ops.reconcile import loss
from ops.repair import corrections
from ops.repair.corrections import Repaired
from ops.wording import count, visible
from reconciliation import reconcile
from reconciliation.drift import Report
from services.syncer.projection import Projection
from shared import keydb, program, settings
from shared.errors import Refusal

SHOWN_MAX = 20


class StoreSettings(settings.PostgresSettings, settings.KeydbSettings, deployment.OperatorSettings):
    """Both stores, and who the operator is."""


@click.command("reconcile", short_help="Compare your tables, the balances and KeyDB.")
@click.option("--repair", "repairing", is_flag=True, help="Put right what differs.")
@click.option("--accept-loss", is_flag=True, help="Also where transactions were lost.")
@click.option("--reason", type=Words(), default="ops reconcile", help="Kept with each correction.")
@answering
def reconcile_(*, repairing: bool, accept_loss: bool, reason: str) -> Answer:
    """Compare your tables, the balances and KeyDB. Exit 1 if they differ.

    Reads the whole history once; no other program waits for that. --repair appends corrections to
    the outbox, which count at the next tick, and has that tick send KeyDB everything. It makes the
    balances agree with your tables, so it refuses where those have lost transactions.
    """
    chosen = settings.load(StoreSettings)
    with (
        deployment.postgres_connection(chosen) as conn,
        keydb.client(chosen, name="ops") as client,
    ):
        projection = Projection(client, shard=chosen.own_shard)
        report = reconcile.run(conn, projection)
        lost = loss.find(conn) if report.ledger.drifting else None
        repaired = None
        if repairing and lost and not accept_loss:
            raise Refusal("\n".join(lost.lines()))
        if repairing and report.drifting:
            repaired = _repair(conn, projection, chosen.operator, reason)
    view = _view(report, lost, repaired, asked=repairing)
    return Answer(_document(report, lost, repaired), view, _code(report, repaired))


def _repair(
    conn: psycopg.Connection, projection: Projection, operator: str, reason: str
) -> Repaired:
    def note(outcome: str) -> None:
        done = {"action": "reconcile_repaired", "subject": "all", "outcome": outcome}
        action.note(conn, [{**done, "operator": operator, "detail": {"reason": reason}}])

    repaired = corrections.repair(
        conn,
        projection,
        reason=f"{operator}: {reason}",
        before_commit=lambda made: note(count(len(made), "correction")) if made else None,
    )
    if repaired.resending:  # no commit of Postgres's is part of that
        note("keydb sent everything")
    return repaired


def _code(report: Report, repaired: Repaired | None) -> int:
    if report.keydb.state == "unreachable":
        return program.EXIT_UNREACHABLE
    if repaired is not None or (not report.drifting and report.keydb.state == "compared"):
        return 0
    return program.EXIT_FINDING


def _document(
    report: Report, lost: loss.Loss | None, repaired: Repaired | None
) -> dict[str, object]:
    ledger, store = report.ledger, report.keydb
    return {
        "drifting": report.drifting,
        "duration_s": round(report.duration_s, 3),
        "ledger": {
            "epoch": ledger.epoch,
            "providers": ledger.providers,
            "transactions": ledger.transactions,
            "drifting": sorted(ledger.drifting),
            "drifts": [asdict(one) | {"missing": one.missing} for one in ledger.drifts],
        },
        "keydb": {
            "state": store.state,
            "epoch": store.epoch,
            "keys": store.keys,
            "drifting": sorted(store.drifting),
            "drifts": store.drifts,
        },
        "lost": lost,
        "repaired": repaired,
    }


def _view(
    report: Report, lost: loss.Loss | None, repaired: Repaired | None, *, asked: bool
) -> Group:
    ledger, store = report.ledger, report.keydb
    lines = _totals(report)
    lines += [
        f"provider {one.provider_id}: {one.missing:+,} is missing (balance {one.balance}, outbox"
        f" {one.unfolded:+}, your tables {one.truth})"
        for one in ledger.drifts[:SHOWN_MAX]
    ]
    lines += [
        f"key {visible(one.key)}: KeyDB has {visible(one.found)}, not {visible(one.expected)}"
        for one in store.drifts[:SHOWN_MAX]
    ]
    for what, drifting in (("provider", ledger.drifting), ("key", store.drifting)):
        if len(drifting) > SHOWN_MAX:
            lines.append(f"and {count(len(drifting) - SHOWN_MAX, f'more {what}')}")
    if repaired is not None:
        lines.append(
            f"{count(len(repaired.corrections), 'correction')} appended; {_then(repaired)}"
        )
    elif lost is not None:
        lines += lost.lines()
    elif report.drifting:
        lines.append("next: ops reconcile --repair --reason '...'")
    elif asked:
        lines.append("nothing to repair")
    return Group(*(Text(line) for line in lines))


def _then(repaired: Repaired) -> str:
    if repaired.resending:
        return "the next tick sends KeyDB everything"
    return "KeyDB follows at the next boundary" if repaired.corrections else "nothing differs"


def _totals(report: Report) -> list[str]:
    ledger, store = report.ledger, report.keydb
    counted = (
        f"{count(ledger.transactions, 'transaction')} of {count(ledger.providers, 'provider')}"
        f" against the balances: {count(len(ledger.drifting), 'difference')}"
    )
    shown = (
        f"{count(store.keys, 'key')} in KeyDB ({store.state.replace('_', ' ')}):"
        f" {count(len(store.drifting), 'difference')}"
    )
    return [counted, shown]
