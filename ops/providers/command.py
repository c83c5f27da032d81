"""`ops provider list|add|rename|set-initial|remove`."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import click
import psycopg
from rich.console import Group
from rich.text import Text

from ops import deployment, tables
from ops.answer import Answer, answering
from ops.params import NEGATIVE, Words
from ops.providers import store
from ops.providers.store import Provider
from ops.wording import count, visible
from shared import settings
from shared.errors import Refusal

NEXT_BOUNDARY = "KeyDB follows at the next boundary"


class ProviderSettings(settings.PostgresSettings, deployment.OperatorSettings):
    """Where providers are, and who the operator is."""


@click.group(short_help="List, add, rename, change, remove providers.")
def provider() -> None:
    """List, add, rename, change and remove providers; KeyDB follows at the next boundary."""


@provider.command(context_settings=NEGATIVE, short_help="Add a provider.")
@click.option("--id", "provider_id", type=int, help="Its id; else the column's next.")
@click.argument("name", type=Words())
@click.argument("initial", type=int)
@answering
def add(*, provider_id: int | None, name: str, initial: int) -> Answer:
    """Add the provider NAME with the value INITIAL (minor units).

    Messages that waited for it become transactions within a second.
    """
    with _at_work() as (conn, operator):
        made = store.add(conn, provider_id, _name(name), initial, operator=operator)
    as_asked = (made.provider_name, made.initial_value) == (name, initial)
    return _answer(made, f"added; {NEXT_BOUNDARY}", as_asked=as_asked)


@provider.command(short_help="Give a provider another name.")
@click.argument("provider_id", metavar="ID", type=int)
@click.argument("name", type=Words())
@answering
def rename(*, provider_id: int, name: str) -> Answer:
    """Give the provider ID another NAME: its old key goes as the new one comes."""
    with _at_work() as (conn, operator):
        done = store.rename(conn, provider_id, _name(name), operator=operator)
    return _answer(done, f"renamed; {NEXT_BOUNDARY}", as_asked=done.provider_name == name)


@provider.command(
    "set-initial", context_settings=NEGATIVE, short_help="Set what a provider began with."
)
@click.argument("provider_id", metavar="ID", type=int)
@click.argument("initial", type=int)
@answering
def set_initial(*, provider_id: int, initial: int) -> Answer:
    """Set the value that the provider ID began with (minor units): its balance moves with it."""
    with _at_work() as (conn, operator):
        done = store.set_initial(conn, provider_id, initial, operator=operator)
    return _answer(done, f"changed; {NEXT_BOUNDARY}", as_asked=done.initial_value == initial)


@provider.command(short_help="Remove a provider without transactions.")
@click.argument("provider_id", metavar="ID", type=int)
@answering
def remove(*, provider_id: int) -> Answer:
    """Remove the provider ID, which must have no transactions."""
    with _at_work() as (conn, operator):
        gone = store.remove(conn, provider_id, operator=operator)
    return _answer(gone, f"removed; {NEXT_BOUNDARY}")


@provider.command("list", short_help="List providers.")
@answering
def list_() -> Answer:
    """List all providers: id, name, initial value (minor units), and the key in KeyDB."""
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = store.everyone(conn)
    table = tables.table("id", "name", "initial value", "key", numbers=("id", "initial value"))
    for one in found:
        key = f"{one.id}_{one.provider_name}"
        table.add_row(str(one.id), visible(one.provider_name), str(one.initial_value), visible(key))
    document = [{**asdict(one), "key": f"{one.id}_{one.provider_name}"} for one in found]
    return Answer({"providers": document}, Group(table, Text(count(len(found), "provider"))))


@contextmanager
def _at_work() -> Iterator[tuple[psycopg.Connection, str]]:
    chosen = settings.load(ProviderSettings)
    with deployment.postgres_connection(chosen) as conn:
        yield conn, chosen.operator


def _name(name: str) -> str:
    if not name.strip() or "\x00" in name:
        raise Refusal("a provider needs a name")
    return name


def _answer(about: Provider, says: str, *, as_asked: bool = True) -> Answer:
    text = f"provider {about.id} {visible(about.provider_name)} ({about.initial_value}) {says}"
    if not as_asked:
        text += "; NOT as you asked: a trigger on initial_data made this of it"
    return Answer({"provider": about, "as_asked": as_asked}, Text(text))
