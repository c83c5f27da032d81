"""Adding a provider that messages wait for: shown first, then done, on record."""

import re
from collections.abc import Sequence
from typing import Any

import click
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ops import deployment
from ops.console import dead_letter_pages, session
from ops.console.acting import Act, Within
from ops.console.settings import ConsoleSettings
from ops.console.showing import LIMITS, Pages
from ops.params import ProviderId
from ops.providers import store

INTEGER = re.compile("-?[0-9]{1,19}")


class ProviderActs:
    """The form of it."""

    def __init__(self, chosen: ConsoleSettings, pages: Pages, within: Within) -> None:
        """`pages` renders, `within` has it answered in time."""
        self._chosen = chosen
        self._pages = pages
        self._within = within

    def routes(self) -> Sequence[Route]:
        """Return where it is sent to."""
        return [
            session.form_route("/providers", self._within(self._add), writes=self._chosen.writes)
        ]

    def _add(self, request: Request, form: FormData, act: Act) -> Response:
        provider_id, name, initial = _asked(form)
        values: dict[str, Any] = {
            "id": provider_id, "name": name, "initial": initial, "key": f"{provider_id}_{name}",
            "done": form.get("confirmed") == "yes", "as_asked": True,
        }  # fmt: skip
        who = session.operator(request)
        with deployment.postgres_connection(self._chosen, options=LIMITS, turn=act.turn) as conn:
            found = {one.provider_id: one for one in dead_letter_pages.waiting(conn)}
            values["awaited"] = found.get(provider_id)
            trial = conn.transaction(force_rollback=True)
            with act.transaction(conn) if values["done"] else trial:
                made = store.add(conn, provider_id, name, initial, operator=who)
            stands = (made.provider_name, made.initial_value)
            values["as_asked"] = stands == (name, initial)
        return self._pages.show(request, "provider_act.html", values)


def _asked(form: FormData) -> tuple[int, str, int]:
    name = str(form.get("name", ""))
    if not name.strip() or "\0" in name:
        raise HTTPException(422, "A provider needs a name.")
    try:
        provider_id = ProviderId().convert(str(form.get("id", "")), None, None)
    except click.UsageError as error:
        raise HTTPException(422, error.message) from error
    initial = str(form.get("initial", "")).strip()
    if not INTEGER.fullmatch(initial):
        raise HTTPException(422, "The initial value is a number of minor units, such as 1000.")
    return provider_id, name, int(initial)
