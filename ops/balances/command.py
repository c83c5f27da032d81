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
from ops.balances.over_time import over_time
from ops.balances.store import Balance
from ops.params import Moment, ProviderId, Span
from ops.wording import moment, visible
from services.syncer.projection import WATERMARK_KEY
from services.syncer.tick_store import OPTIONS
from shared import keydb, settings
from shared.errors import Refusal
from shared.ledger import history
from shared.shard import Shard

KEYS_AT_ONCE = 1000
CLOCK_DIFFERENCE_MAX = timedelta(seconds=5)
"""By how much this machine's clock, which `2h ago` goes by, may be ahead of Postgres's."""


class BalanceSettings(settings.PostgresSettings, settings.KeydbSettings):
    """Both stores."""


@click.command(short_help="Show balances beside KeyDB's, now or at a past minute.")
@click.option(
    "--as-of", type=Moment(), help="As they were then: 2026-11-20T23:42 (UTC), or 2h ago."
)
@click.option("--series", "as_series", is_flag=True, help="One provider's, time by time.")
@click.option(
    "--from", "first", type=Moment(), help="With --series: since when; 24h ago if not given."
)
@click.option("--to", "last", type=Moment(), help="With --series: until when; now if not given.")
@click.option(
    "--step", type=Span(), help="With --series: 60s, 15m, 1h; a tick's interval if not given."
)
@click.argument("provider_id", metavar="[PROVIDER]", type=ProviderId(), required=False)
@answering
def balances(  # noqa: PLR0913 - one for each option
    *,
    provider_id: int | None,
    as_of: datetime | None,
    as_series: bool,
    first: datetime | None,
    last: datetime | None,
    step: timedelta | None,
) -> Answer:
    """Show every balance at the last tick, or that of PROVIDER (1, or 1_Visa), beside KeyDB's.

    What is committed since is shown, too. With --as-of, what KeyDB had to show at a past time, as
    far as HISTORY_RETENTION_DAYS goes. With --series, PROVIDER's balance in the ticks of a time.
    """
    if as_series:
        if provider_id is None or as_of is not None:
            raise click.UsageError("--series is of one PROVIDER, --from and --to a time")
        return over_time(provider_id, first, last, step)
    if first or last or step:
        raise click.UsageError("--from, --to and --step belong to --series")
    return _now(provider_id) if as_of is None else _past(provider_id, as_of)


def _past(provider_id: int | None, as_of: datetime) -> Answer:
    chosen = settings.load(settings.PostgresSettings)
    with deployment.postgres_connection(chosen, options=OPTIONS) as conn:
        refuse_future(conn, as_of)
        found = _balances_at(conn, provider_id, as_of)
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


def _balances_at(
    conn: psycopg.Connection, provider_id: int | None, as_of: datetime
) -> history.PastBalances:
    if provider_id is None:
        return history.balances_at(conn, as_of)
    one = history.balance_at(conn, provider_id, as_of)
    if one.key is None or one.balance is None:
        raise Refusal(f"there was no provider {provider_id} at {moment(one.boundary)}")
    return history.PastBalances(one.epoch, one.boundary, {one.key: one.balance})


def refuse_future(conn: psycopg.Connection, as_of: datetime) -> None:
    """Raise `Refusal` for a time in the future by Postgres's clock."""
    now = history.now(conn)
    if as_of > now + CLOCK_DIFFERENCE_MAX:
        says = f"{moment(as_of)} is in the future: it is {moment(now)} by Postgres's clock"
        raise Refusal(f"{says}; times are UTC unless they say otherwise")


def _now(provider_id: int | None) -> Answer:
    chosen = settings.load(BalanceSettings)
    with (
        deployment.postgres_connection(chosen, options=OPTIONS) as conn,
        keydb.client(chosen, name="ops") as client,
    ):
        found = [one for one in store.newest(conn) if provider_id in (None, one.provider_id)]
        if provider_id is not None and not found:
            raise Refusal(f"there is no provider {provider_id}")
        shown, boundary = _shown(client, chosen.own_shard, found)
    document = {
        "keydb_boundary": boundary,
        "balances": [_line(one, shown) for one in found],
    }
    return Answer(document, _view(document))


def _shown(
    client: keydb.Client, shard: Shard, found: Sequence[Balance]
) -> tuple[dict[str, str | None], str | None]:
    keys = [one.shown_as for one in found if one.shown_as]
    shown: dict[str, str | None] = {}
    with keydb.translating(client):
        boundary = client.hget(shard.key(WATERMARK_KEY), "boundary")
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
