"""`ops balances`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click
import psycopg
from rich.console import Group
from rich.text import Text

from ops import deployment, tables
from ops.answer import Answer, answering
from ops.balances import store
from ops.balances.store import Balance
from ops.params import Moment
from ops.wording import moment, visible
from services.syncer.projection import WATERMARK_KEY
from services.syncer.tick_store import OPTIONS
from shared import keydb, settings
from shared.errors import Refusal
from shared.ledger import history

KEYS_AT_ONCE = 1000
CLOCK_DIFFERENCE_MAX = timedelta(seconds=5)
"""By how much this machine's clock, which `2h ago` goes by, may be ahead of Postgres's."""


class BalanceSettings(settings.PostgresSettings, settings.KeydbSettings):
    """Both stores."""


@click.command(short_help="Show balances beside KeyDB's, now or at a past minute.")
@click.option(
    "--as-of", type=Moment(), help="As they were then: 2026-11-20T23:42 (UTC), or 2h ago."
)
@answering
def balances(*, as_of: datetime | None) -> Answer:
    """Show every balance at the last tick, beside KeyDB's, and what is committed since.

    With --as-of, what KeyDB had to show at a past time, as far as HISTORY_RETENTION_DAYS goes.
    """
    return _now() if as_of is None else _past(as_of)


def _past(as_of: datetime) -> Answer:
    chosen = settings.load(settings.PostgresSettings)
    with deployment.ledger(chosen, options=OPTIONS) as conn:
        _refuse_future(conn, as_of)
        found = history.balances_at(conn, as_of)
    table = tables.table("key", "balance", numbers=("balance",))
    for key, balance in found.balances.items():
        table.add_row(visible(key), str(balance))
    document = {
        "as_of": as_of,
        "boundary": found.boundary,
        "epoch": found.epoch,
        "balances": [{"key": key, "balance": one} for key, one in found.balances.items()],
    }
    return Answer(document, Group(table, Text(f"as of the tick of {moment(found.boundary)}")))


def _refuse_future(conn: psycopg.Connection, as_of: datetime) -> None:
    now = store.now(conn)
    if as_of > now + CLOCK_DIFFERENCE_MAX:
        says = f"{moment(as_of)} is yet to come: it is {moment(now)} by Postgres's clock"
        raise Refusal(f"{says}; times are UTC unless they say otherwise")


def _now() -> Answer:
    chosen = settings.load(BalanceSettings)
    with (
        deployment.ledger(chosen, options=OPTIONS) as conn,
        keydb.client(chosen, name="ops") as client,
    ):
        found = store.newest(conn)
        shown, boundary = _shown(client, [one.shown_as for one in found if one.shown_as])
    document = {
        "keydb_boundary": boundary,
        "balances": [_line(one, shown) for one in found],
    }
    return Answer(document, _view(document))


def _shown(client: keydb.Client, keys: Sequence[str]) -> tuple[dict[str, str | None], str | None]:
    shown: dict[str, str | None] = {}
    with keydb.translating(client):
        boundary = client.hget(WATERMARK_KEY, "boundary")
        for start in range(0, len(keys), KEYS_AT_ONCE):
            part = keys[start : start + KEYS_AT_ONCE]
            values = (None if one is None else str(one) for one in client.mget(part))
            shown.update(zip(part, values, strict=True))
    return shown, None if boundary is None else str(boundary)


def _line(one: Balance, shown: dict[str, str | None]) -> dict[str, Any]:
    in_keydb = shown.get(one.shown_as) if one.shown_as else None
    return {
        "provider_id": one.provider_id,
        "key": one.key,
        "balance": one.balance,
        "keydb": in_keydb,
        "same": in_keydb == (str(one.balance) if one.shown_as else None),
        "uncounted": one.uncounted,
    }


def _view(document: dict[str, Any]) -> Group:
    numbers = ("balance", "in KeyDB", "since then")
    table = tables.table("key", *numbers, numbers=numbers)
    for one in document["balances"]:
        table.add_row(
            visible(one["key"]),
            str(one["balance"]),
            Text(visible(one["keydb"]), style="" if one["same"] else "bold red"),
            f"{one['uncounted']:+}" if one["uncounted"] else "",
        )
    return Group(table, Text(f"KeyDB shows {visible(document['keydb_boundary'])}"))
