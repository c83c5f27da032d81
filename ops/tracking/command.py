"""`ops requests list` and `ops requests show`."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import click
from rich.console import Group, RenderableType
from rich.text import Text

from ops import deployment, tables
from ops.answer import Answer, answering
from ops.wording import age, count, moment, visible
from shared import settings
from shared.errors import Refusal
from shared.ledger import request as ledger
from shared.ledger.request import STATES, Document, State, Tracked

LIMIT_MAX = 10_000
COLUMNS = ("request", "by", "state", "items", "stored", "dead", "waiting", "missing", "accepted")
NUMBERS = ("items", "stored", "dead", "waiting", "missing")
ERRORS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Shown(Document):
    """A request's document, who sent it, and what became of its reply.

    `kind` is `transactions`, or which question was asked. `error` is why no reply was taken.
    """

    by: str
    kind: str
    reply_to: str | None
    replied_at: datetime | None
    error: str | None


@click.group(short_help="Look at requests.")
def requests() -> None:
    """Look at requests that came by message or by HTTP, and at what became of their items."""


@requests.command("list", short_help="List requests, newest first.")
@click.option(
    "--state", type=click.Choice(STATES),
    help="pending: nothing is stored yet; running; done: every item is a row; failed.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(1, LIMIT_MAX), default=50, show_default=True,
    help="Requests shown at most.",
)  # fmt: skip
@answering
def list_(*, state: State | None, limit: int) -> Answer:
    """List requests, newest first, and what has become of their items by now."""
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = ledger.newest(conn, state=state, before=None, most=limit)
    table = tables.table(*COLUMNS, numbers=NUMBERS)
    for one in found:
        said = one.document
        numbers = (said.items, said.stored, sum(said.dead.values()), said.waiting, said.missing)
        table.add_row(
            said.request, visible(one.known.by), said.state, *map(str, numbers),
            moment(said.accepted_at),
        )  # fmt: skip
    view: RenderableType = table if found else Text("none")
    return Answer({"requests": [one.document for one in found]}, view)


@requests.command("show", short_help="Show what became of a request.")
@click.argument("key", metavar="ID")
@answering
def show(*, key: str) -> Answer:
    """Show what became of each item of the request ID, which tick counted it, and its reply."""
    with deployment.postgres_connection(settings.load(settings.PostgresSettings)) as conn:
        found = ledger.tracked(conn, key)
    if found is None:
        raise Refusal(
            f"there is no request {visible(key)}: its days are over, or the tracker has not"
            " seen it yet"
        )
    return Answer(_document(found), _view(found))


def _document(found: Tracked) -> Shown:
    known = found.known
    return Shown(
        **{one.name: getattr(found.document, one.name) for one in fields(Document)},
        by=known.by,
        kind=known.kind,
        reply_to=known.reply_to,
        replied_at=known.replied_at,
        error=known.error,
    )


def _view(found: Tracked) -> RenderableType:
    said, known = found.document, found.known
    table = tables.table("", "")
    table.show_header = False
    for name, text in _lines(said, known):
        table.add_row(name, text)
    errors = tables.table("item", "reason", "error", numbers=("item",))
    for one in said.errors[:ERRORS_SHOWN]:
        errors.add_row(str(one.item), one.reason, visible(one.error))
    more = len(said.errors) - ERRORS_SHOWN
    parts: list[Any] = [table]
    if said.errors:
        parts += [Text(""), errors]
    if more > 0:
        parts.append(Text(f"and {count(more, 'item')} more: --json has all"))
    return Group(*parts)


def _lines(said: Document, known: ledger.Known) -> list[tuple[str, str]]:
    dead = ", ".join(f"{number:,} {reason}" for reason, number in sorted(said.dead.items()))
    took = f", after {age(said.seconds)}" if said.seconds is not None else ""
    lines = [
        ("request", said.request),
        ("by", visible(known.by or None)),
        ("state", said.state),
        ("accepted", moment(said.accepted_at)),
        ("decided", moment(said.decided_at) + took),
        ("reply", _reply(known)),
    ]
    if known.kind != "transactions":
        return [*lines[:2], ("question", known.kind), *lines[2:]]
    items = [
        ("items", f"{said.items:,}"),
        ("stored", f"{said.stored:,}"),
        ("dead", dead or "0"),
        ("waiting", f"{said.waiting:,}"),
        ("missing", f"{said.missing:,}"),
        ("published", moment(said.published_at)),
        ("counted by", moment(said.counted_by)),
        ("shown", moment(said.shown_at)),
    ]
    return [*lines[:3], *items[:5], lines[3], items[5], lines[4], *items[6:], lines[5]]


def _reply(known: ledger.Known) -> str:
    if known.reply_to is None:
        return "none is wanted"
    to = visible(known.reply_to)
    if known.error:
        return f"not taken by {to}: {known.error}"
    return f"{moment(known.replied_at)} to {to}" if known.replied_at else f"to come, to {to}"
