"""`ops followers list|anew|forget`."""

from collections.abc import Iterator
from contextlib import contextmanager

import click
import psycopg
from rich.console import Group
from rich.text import Text

from ops import deployment, tables
from ops.answer import Answer, answering
from ops.followers import store
from ops.params import Words
from ops.wording import age, count, moment, visible
from shared import settings


class FollowerSettings(settings.PostgresSettings, deployment.OperatorSettings):
    """Where followers' positions are, and who the operator is."""


@click.group(short_help="List followers of ticks; let one start anew; forget one.")
def followers() -> None:
    """List what follows the ticks (feed, notifier, tracker); let one start anew; forget one."""


@followers.command("list", short_help="List followers: position, lag, error.")
@answering
def list_() -> Answer:
    """List each follower: the tick it followed last, what is due since, why it stands still."""
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = store.everyone(conn)
    numbers = ("epoch", "ticks behind")
    table = tables.table(
        "name", "epoch", "tick", "ticks behind", "for", "state", "error", numbers=numbers
    )
    for one in found:
        late = age(one.lag_s) if one.lag_ticks else "-"
        ticks = f"{one.lag_ticks:,}"
        table.add_row(
            visible(one.name), str(one.epoch), moment(one.boundary), ticks, late, _state(one),
            visible(one.error),
        )  # fmt: skip
    return Answer({"followers": found}, Group(table, Text(count(len(found), "follower"))))


@followers.command(short_help="Have one go on from the present.")
@click.argument("name", type=Words())
@answering
def anew(*, name: str) -> Answer:
    """Have the follower NAME give up its position and go on from the newest tick.

    A feed then sends every balance again; what lies before is not sent (ops feed replay). A
    notifier judges no alert at the ticks in between. One that is stopped does so at its start.
    """
    with _at_work() as (conn, operator):
        store.start_anew(conn, name, operator=operator)
    return Answer({"follower": name, "done": "anew"}, Text(f"{visible(name)} starts anew"))


@followers.command(short_help="Forget one that is not run any more.")
@click.argument("name", type=Words())
@answering
def forget(*, name: str) -> Answer:
    """Forget the position of the follower NAME, which must be stopped.

    Then nobody misses it. If it is started again, it starts anew.
    """
    with _at_work() as (conn, operator):
        store.forget(conn, name, operator=operator)
    return Answer({"follower": name, "done": "forgotten"}, Text(f"{visible(name)} is forgotten"))


@contextmanager
def _at_work() -> Iterator[tuple[psycopg.Connection, str]]:
    chosen = settings.load(FollowerSettings)
    with deployment.postgres_connection(chosen) as conn:
        yield conn, chosen.operator


def _state(one: store.Follower) -> str:
    running = "runs" if one.running else "stopped"
    return f"{running}, starts anew" if one.starts_anew else running
