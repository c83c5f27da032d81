"""`/dead-letters`: dead letters by a filter; `/dead-letters/ID`: one of them whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, LiteralString

import click
import msgspec
import psycopg
from psycopg.rows import class_row
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ops import deployment
from ops.console import numbers
from ops.console.settings import ConsoleSettings
from ops.console.showing import LIMITS, Pages
from ops.dead_letters import store
from ops.dead_letters.absent import absent
from ops.dead_letters.choosing import DEAD_LETTER_ID, REASONS
from ops.dead_letters.core import Choice, StoredDeadLetter, preview
from ops.params import Moment, ProviderId
from shared.health import unwatched

SHOWN = 100
PREVIEW_BYTES = 80
BYTES_SHOWN_MAX = 65_536
HEX_WIDTH = 16
FILTER = ("state", "reason", "queue", "provider", "since", "until")
PAGES_MAX = 10
"""Pages of `store.PAGE` dead letters, read for one provider, which only their bodies name."""
WAITING_MAX = 100

SELECT_WAITING: LiteralString = """
SELECT provider_id, count(*) AS messages, sum(value)::text AS amount, min(received_at) AS oldest
  FROM dead_letter
 WHERE state = 'waiting'
 GROUP BY provider_id
 ORDER BY count(*) DESC, provider_id
 LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Awaited:
    """A provider that messages wait for, their number and what they add up to (minor units)."""

    provider_id: int
    messages: int
    amount: str
    oldest: Any


@dataclass(frozen=True, slots=True)
class DeadLetterPages:
    """What answers them."""

    chosen: ConsoleSettings
    pages: Pages

    def routes(self) -> Sequence[Route]:
        """Return where they are."""
        return [
            Route("/dead-letters", self.pages.reading(self._list), methods=["GET"]),
            Route("/dead-letters/{id:id}", self.pages.reading(self._dead_letter), methods=["GET"]),
        ]

    def _list(self, request: Request) -> Response:
        given = request.query_params
        choice, after = choice_of(given), _number(given.get("after", "0"))
        with deployment.postgres_connection(self.chosen, options=LIMITS, turn=unwatched) as conn:
            everything = store.count(conn, Choice())
            chosen = store.count(conn, choice) if choice.provider is None else ()
            found, next_after = some(conn, choice, after)
            awaited = waiting(conn)
        values = {
            "groups": everything,
            "chosen": sum(number for _, _, number in chosen) or len(found),
            "dead_letters": [_line(one) for one in found],
            "next_after": next_after,
            "filter": {name: given.get(name, "") for name in FILTER},
            "reasons": REASONS,
            "awaited": awaited,
        }
        return self.pages.show(request, "dead_letter_list.html", values)

    def _dead_letter(self, request: Request) -> Response:
        with deployment.postgres_connection(self.chosen, options=LIMITS, turn=unwatched) as conn:
            dead_letter, missing = one(conn, request.path_params["id"])
        if dead_letter is None:
            return self.pages.said(request, missing, 404)
        return self.pages.show(request, "dead_letter.html", {"dead_letter": whole(dead_letter)})


def one(conn: psycopg.Connection, dead_letter_id: int) -> tuple[StoredDeadLetter | None, str]:
    """Return a dead letter, or None and a sentence that says what became of it."""
    choice = Choice((min(dead_letter_id, DEAD_LETTER_ID.max or dead_letter_id),))
    found = list(chain.from_iterable(store.pages(conn, choice)))
    missing = absent(conn, choice, [each.id for each in found])
    return (found[0] if found else None), "".join(each.says for each in missing)


def some(
    conn: psycopg.Connection, choice: Choice, after: int
) -> tuple[list[StoredDeadLetter], int | None]:
    """Return the first chosen dead letters with ids above `after`, and where the next ones begin.

    Not all are read for those of one provider: there may then be few here and more further on.
    """
    found: list[StoredDeadLetter] = []
    pages = store.pages(conn, replace(choice, provider=None), after=after)
    for page in islice(pages, PAGES_MAX):
        found += [one for one in page if choice.provider in (None, one.provider)]
        if len(found) > SHOWN:
            return found[:SHOWN], found[SHOWN - 1].id
        after = page[-1].id
    return found, after if next(pages, None) else None


def waiting(conn: psycopg.Connection) -> list[Awaited]:
    """Return the providers that messages wait for, most messages first."""
    with conn.cursor(row_factory=class_row(Awaited)) as cursor:
        return cursor.execute(SELECT_WAITING, {"limit": WAITING_MAX}).fetchall()


def choice_of(given: Mapping[str, Any]) -> Choice:
    """Return which dead letters an address or a form means. Raises `HTTPException`: 400."""
    typed = {name: str(given.get(name, "")).strip() for name in FILTER}
    types: dict[str, click.ParamType[Any]] = {
        "state": click.Choice(["open", "waiting"]), "reason": click.Choice(REASONS),
        "queue": click.STRING, "provider": ProviderId(), "since": Moment(), "until": Moment(),
    }  # fmt: skip
    try:
        chosen = {name: types[name].convert(one, None, None) for name, one in typed.items() if one}
    except click.UsageError as error:
        raise HTTPException(400, error.message) from error
    if "\0" in typed["queue"]:
        raise HTTPException(400, "no queue has such a name")
    return Choice(**chosen)


def whole(dead_letter: StoredDeadLetter) -> dict[str, Any]:
    """Return all of a dead letter for people: its body as text and in hexadecimal, properties."""
    shown = dead_letter.body[:BYTES_SHOWN_MAX]
    return _line(dead_letter) | {
        "error": dead_letter.error,
        "queue": dead_letter.queue,
        "value": dead_letter.value,
        "properties": msgspec.json.format(msgspec.json.encode(dead_letter.properties)).decode(),
        "size": len(dead_letter.body),
        "text": preview(dead_letter.body, BYTES_SHOWN_MAX),
        "hex": hexadecimal(shown),
        "editable": text_of(dead_letter.body),
    }


def text_of(body: bytes) -> str | None:
    """Return a body as text that can be edited; None where it is none, or too long.

    Nor where it has signs that cannot be seen, or that move others: it would be another text than
    the one that is seen.
    """
    if len(body) > BYTES_SHOWN_MAX:
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return text if all(one.isprintable() or one in "\t\r\n" for one in text) else None


def hexadecimal(body: bytes) -> str:
    """Return bytes as `hexdump -C` shows them: offset, 16 bytes, and what of it is ASCII."""
    lines = []
    for at in range(0, len(body), HEX_WIDTH):
        row = body[at : at + HEX_WIDTH]
        text = "".join(chr(one) if 0x20 <= one < 0x7F else "." for one in row)  # noqa: PLR2004
        lines.append(f"{at:08x}  {row.hex(' '):<{HEX_WIDTH * 3}} {text}")
    return "\n".join(lines)


def _line(dead_letter: StoredDeadLetter) -> dict[str, Any]:
    return {
        "id": dead_letter.id,
        "received_at": dead_letter.received_at,
        "state": dead_letter.state,
        "reason": dead_letter.reason,
        "provider": dead_letter.provider,
        "message_id": dead_letter.message_id,
        "preview": preview(dead_letter.body, PREVIEW_BYTES),
    }


def _number(text: str) -> int:
    number = numbers.bigint(text)
    if number is None:
        raise HTTPException(400, "after must be a dead letter's id")
    return number
