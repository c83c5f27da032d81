"""Replaying and purging dead letters: tried first, then done as it was shown, each on record.

The trial is the act itself, taken back. Afterwards it is done to the dead letters that the trial
found, and to none if they have become others since.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import click
import psycopg
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adoption import checks
from ops import deployment
from ops.console import dead_letter_pages, session
from ops.console.acting import Act, Within
from ops.console.settings import ConsoleSettings
from ops.console.showing import LIMITS, Pages
from ops.dead_letters import purge, store
from ops.dead_letters.core import Choice
from ops.dead_letters.replay import Edit, Order
from ops.dead_letters.replay_each import Queues, replay_each
from ops.params import Reason
from ops.wording import count
from services.ingest.store import OPTIONS
from shared import tracing

DEAD_LETTERS_MAX = 1000
"""In one act, which is one transaction and one page; the command line takes any number."""
ACTS = ("replay", "purge")
ID = re.compile("[0-9]{1,18}")

SELECT_RECORDED: LiteralString = """
SELECT created_at, action, subject, outcome, operator
  FROM operator_action
 WHERE id > %(after)s
   AND operator = %(operator)s
 ORDER BY id
 LIMIT 50
"""
SELECT_NEWEST: LiteralString = "SELECT coalesce(max(id), 0) FROM operator_action"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person wants done to which dead letters, and why."""

    act: str
    ids: tuple[int, ...]
    edit: Edit
    note: str
    operator: str
    confirmed: bool


@dataclass(frozen=True, slots=True)
class Fates:
    """What became of dead letters, or would: how many by outcome, what is left and recorded."""

    dead_letters: Sequence[tuple[int, str]]
    missing: Sequence[str]
    recorded: Sequence[tuple[Any, ...]] = ()

    @property
    def counts(self) -> list[tuple[str, int]]:
        """Outcomes, most first."""
        return Counter(outcome for _, outcome in self.dead_letters).most_common()


class DeadLetterActs:
    """The one form for all of it."""

    def __init__(self, chosen: ConsoleSettings, pages: Pages, within: Within) -> None:
        """`pages` renders, `within` has it answered in time."""
        self._chosen = chosen
        self._pages = pages
        self._within = within
        tracing.configure(on=chosen.tracing == "on")

    def routes(self) -> Sequence[Route]:
        """Return where it is sent to."""
        act = self._within(self._act)
        return [session.form_route("/dead-letters", act, writes=self._chosen.writes)]

    def _act(self, request: Request, form: FormData, act: Act) -> Response:
        options = f"{OPTIONS} {LIMITS}"
        with deployment.postgres_connection(self._chosen, options=options, turn=act.turn) as conn:
            checks.refuse(conn)
            asked = _asked(conn, form, session.operator(request))
            trial = self._done(conn, asked, dry_run=True)
            shown = str(form.get("count", ""))
            if asked.confirmed and shown == str(len(trial.dead_letters)):
                with act.transaction(conn):
                    done = self._done(conn, asked, dry_run=False)
                values = self._values(asked, done) | {"done": True, "said": ""}
                return self._pages.show(request, "dead_letter_act.html", values)
        said = (
            f"There are {len(trial.dead_letters)} of them now, not {shown}."
            if asked.confirmed
            else ""
        )
        values = self._values(asked, trial) | {"done": False, "said": said}
        values["original"] = str(form.get("original", ""))
        return self._pages.show(request, "dead_letter_act.html", values)

    def _done(self, conn: psycopg.Connection, asked: Asked, *, dry_run: bool) -> Fates:
        row = conn.execute(SELECT_NEWEST).fetchone()
        choice = Choice(asked.ids)
        if asked.act == "purge":
            order = purge.Order(choice, asked.ids, asked.operator, asked.note, dry_run)
            gone = purge.purge(conn, order)
            fates = [(one.id, f"deleted ({one.reason})") for one in gone]
            left = sorted({*asked.ids} - {number for number, _ in fates})
            missing = [f"there is no dead letter {one} any more" for one in left]
        else:
            limits = self._chosen.body_limits
            replaying = Order(choice, asked.edit, asked.operator, limits, asked.note, dry_run)
            chosen = self._chosen
            queues = Queues.of(chosen.source, chosen.history_s, chosen.own_shard)
            result = replay_each(conn, replaying, queues)
            fates = [(one["id"], one["outcome"]) for one in result.letters]
            missing = [one.says for one in result.absent]
            if result.elsewhere:
                rest = f"{count(result.elsewhere, 'dead letter')} left: from another queue than"
                missing.append(f"{rest} {', '.join(queues.names)}")
        if dry_run:
            return Fates(fates, missing)
        since = {"after": row[0] if row else 0, "operator": asked.operator}
        return Fates(fates, missing, conn.execute(SELECT_RECORDED, since).fetchall())

    def _values(self, asked: Asked, fates: Fates) -> dict[str, Any]:
        return {
            "act": asked.act,
            "fates": fates,
            "total": len(fates.dead_letters),
            "ids": " ".join(str(one) for one, _ in fates.dead_letters),
            "note": asked.note,
            "body": None if asked.edit.body is None else asked.edit.body.decode(),
            "message_id": asked.edit.message_id or "",
        }


def _asked(conn: psycopg.Connection, form: FormData, operator: str) -> Asked:
    """Return what a form asks for. Raises `HTTPException`: 400, 422."""
    act = str(form.get("act", ""))
    if act not in ACTS:
        raise HTTPException(400, "act must be replay or purge")
    try:
        note = Reason().convert(str(form.get("note", "")), None, None)
    except click.UsageError as error:
        raise HTTPException(422, f"Say why: {error.message}.") from error
    ids = _ids(conn, form)
    edit = _edit(form) if act == "replay" else Edit()
    if edit != Edit() and len(ids) != 1:
        raise HTTPException(400, "only one dead letter at a time can be edited")
    confirmed = form.get("confirmed") == "yes"
    return Asked(act, ids, edit, note.strip(), operator, confirmed)


def _ids(conn: psycopg.Connection, form: FormData) -> tuple[int, ...]:
    typed = str(form.get("ids", "")).split()
    if not all(ID.fullmatch(one) for one in typed):
        raise HTTPException(400, "ids are numbers, separated by spaces")
    named = [int(one) for one in typed]
    ids = named or store.ids(conn, dead_letter_pages.choice_of(form))
    if len(ids) > DEAD_LETTERS_MAX:
        most = f"{count(DEAD_LETTERS_MAX, 'dead letter')} at once, and these are {len(ids):,}"
        raise HTTPException(
            422, f"At most {most}: choose fewer, or use ops dead-letters {form.get('act')}."
        )
    if not ids:
        raise HTTPException(404, "There are no such dead letters.")
    return tuple(ids)


def _edit(form: FormData) -> Edit:
    """Return what is to be sent instead. A browser sends every line end as CR LF.

    A blank that was copied with an identity would make another one of it: a second row.
    """
    message_id = str(form.get("message_id", "")).strip()
    if "\0" in message_id:
        raise HTTPException(422, "No identity has a NUL in it.")
    if "body" not in form:
        return Edit(None, message_id or None)
    body, original = (
        str(form.get(name, "")).replace("\r\n", "\n") for name in ("body", "original")
    )
    edited = None if body == original else body.encode()
    return Edit(edited, message_id or None)
