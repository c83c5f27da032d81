"""`ops rebuild`, `ops audit`, `ops outbox partitions|repair`."""

from datetime import datetime

import click
import psycopg
from rich.console import Group
from rich.text import Text

from ops import action, deployment, tables
from ops.answer import Answer, answering
from ops.params import Moment
from ops.repair import audit, partitions
from ops.repair.rebuild import rebuild
from ops.wording import count, moment
from services.syncer.projection import Projection
from services.syncer.tick_store import OPTIONS
from shared import keydb, program, settings

DEFAULT = "outbox_default"
SHOWN_MAX = 20
EPOCH_DIGITS_MAX = 18
"""Any number of so many is a bigint."""


class LedgerSettings(settings.PostgresSettings, deployment.OperatorSettings):
    """Postgres, and who the operator is."""


class StoreSettings(LedgerSettings, settings.KeydbSettings):
    """Both stores, and who the operator is."""


@click.command("rebuild", short_help="Send KeyDB every balance of the last tick again.")
@answering
def rebuild_() -> Answer:
    """Send KeyDB every balance of the last tick again, and remove our keys that are obsolete.

    Safe beside running syncers: it goes by the same compare-and-set. Readers see the watermark's
    token begin with "partial:" for that moment.
    """
    chosen = settings.load(StoreSettings)
    with (
        deployment.postgres_connection(chosen, options=OPTIONS) as conn,
        keydb.client(chosen, name="ops") as client,
    ):
        done = rebuild(conn, Projection(client, shard=chosen.own_shard))
        # Noted after it: no commit of Postgres's is part of what KeyDB was sent.
        _note(conn, chosen, "keydb_rebuilt", str(done.epoch), f"{count(done.keys, 'key')} sent")
    says = f"{count(done.keys, 'key')} sent, {done.removed:,} removed: KeyDB shows {done.boundary}"
    return Answer(done, Text(says))


@click.command("audit", short_help="Recompute a tick from the outbox rows kept.")
@click.argument("tick")
@answering
def audit_(*, tick: str) -> Answer:
    """Recompute TICK from the outbox rows kept: its boundary (2026-11-20T23:42, UTC), or its epoch.

    Exit 1 if it wrote anything else than its rows add up to, or if they are not kept any more.
    """
    epoch, boundary = _which(tick)
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = audit.audit(conn, epoch=epoch, boundary=boundary)
    document = {
        "clean": found.clean,
        "epoch": found.tick.epoch,
        "boundary": found.tick.boundary,
        "written": {"rows": found.tick.rows, "amount": int(found.tick.amount)},
        "recomputed": {"rows": found.rows, "amount": found.amount},
        "differing": found.differing,
        "differences": found.differences,
    }
    columns = ("provider", "its rows add up to", "the tick added")
    table = tables.table(*columns, numbers=columns)
    for one in found.differences[:SHOWN_MAX]:
        table.add_row(str(one.provider_id), str(one.counted), str(one.written))
    says = (
        f"tick {found.tick.epoch} of {moment(found.tick.boundary)}: {found.tick.rows:,} rows,"
        f" {int(found.tick.amount):+,} written; {found.rows:,} rows, {found.amount:+,} recomputed:"
        f" {'the same' if found.clean else 'NOT the same'}"
    )
    more = found.differing - SHOWN_MAX
    lines = [Text(f"and {count(more, 'more provider')}")] if more > 0 else []
    view = Group(Text(says), table, *lines) if found.differences else Text(says)
    return Answer(document, view, 0 if found.clean else program.EXIT_FINDING)


@click.group("outbox")
def outbox_() -> None:
    """Look at the outbox's partitions; empty the default one."""


@outbox_.command("partitions", short_help="List the partitions and what is in them.")
@answering
def partitions_() -> Answer:
    """List the partitions. Exit 1 if rows lie in the default one."""
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = partitions.existing(conn)
    stray = sum(one.rows or 0 for one in found if one.name == DEFAULT)
    numbers = ("rows, about", "bytes")
    table = tables.table("partition", "of", *numbers, numbers=numbers)
    for one in found:
        rows = "-" if one.rows is None else f"{one.rows:,}"
        table.add_row(one.name, one.bounds, rows, f"{one.bytes:,}")
    document = {"default_rows": stray, "partitions": found}
    if not stray:
        return Answer(document, table)
    return Answer(document, Group(table, Text("next: ops outbox repair")), program.EXIT_FINDING)


@outbox_.command("repair", short_help="Move the default partition's rows where they belong.")
@answering
def repair_() -> Answer:
    """Move the rows of the default partition to where they belong, while everything runs."""
    chosen = settings.load(LedgerSettings)
    with deployment.postgres_connection(chosen) as conn:

        def note(moved: int) -> None:
            if moved:
                _note(conn, chosen, "outbox_repaired", DEFAULT, f"{count(moved, 'row')} moved")

        moved = partitions.repair_default(conn, before_commit=note)
    return Answer({"moved": moved}, Text(f"{count(moved, 'row')} moved"))


def _note(
    conn: psycopg.Connection, chosen: LedgerSettings, what: str, subject: str, outcome: str
) -> None:
    done = {"action": what, "subject": subject, "outcome": outcome, "operator": chosen.operator}
    action.note(conn, [done])


def _which(tick: str) -> tuple[int | None, datetime | None]:
    if tick.isascii() and tick.isdigit() and len(tick) <= EPOCH_DIGITS_MAX:
        return int(tick), None
    return None, Moment().convert(tick, None, None)
