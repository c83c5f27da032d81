"""Alerts added and removed by an operator: each change is on record, in the same transaction."""

from dataclasses import asdict
from typing import Any, LiteralString

import psycopg

from ops import action
from shared import alert_store, postgres
from shared.alert import Alert
from shared.alert_store import Choice, StoredAlert
from shared.change_record import ChangeRecord
from shared.errors import Refusal
from shared.unfit import Unfit
from shared.unique_ids import time_ordered

SOURCE = "ops"
"""The source of what operators add; they may remove what came from any."""

SELECT_PROVIDER: LiteralString = "SELECT FROM initial_data WHERE id = %(provider_id)s"


def add(conn: psycopg.Connection, alert: Alert, name: str | None, *, operator: str) -> StoredAlert:
    """Add an alert, or find that the same one is there. Raises `Refusal`.

    `name` is its `source_id`; without one it gets one that nobody else has.
    """
    record = ChangeRecord("ADDED", SOURCE, name or time_ordered().hex, None, {})
    named = Choice(source=SOURCE, source_id=record.source_id)
    try:
        with postgres.translating(), conn.transaction():
            before = alert_store.select(conn, named, locked=True)
            if before and before[0].alert == alert:
                return before[0]
            if before:
                raise Refusal(f"alert {before[0].id} has this name and says something else")
            alert_store.put(conn, record, alert)
            (made,) = alert_store.select(conn, named)
            action.note(conn, [_action("alert_added", made, operator, asdict(alert))])
            return made
    except Unfit as unfit:
        raise Refusal(f"nothing was added: {unfit.error}") from unfit


def has_provider(conn: psycopg.Connection, provider_id: int) -> bool:
    """Say whether there is a provider of this id now."""
    with postgres.translating():
        return conn.execute(SELECT_PROVIDER, {"provider_id": provider_id}).rowcount > 0


def remove(conn: psycopg.Connection, ids: tuple[int, ...], *, operator: str) -> list[StoredAlert]:
    """Remove alerts, all or none. Raises `Refusal` for one that is not there."""
    with postgres.translating(), conn.transaction():
        found = alert_store.select(conn, Choice(ids=ids), locked=True)
        if missing := sorted(set(ids) - {one.id for one in found}):
            named = ", ".join(str(one) for one in missing)
            raise Refusal(f"nothing was removed: there is no alert {named}")
        for one in found:
            record = ChangeRecord("REMOVED", one.source, one.source_id, None, {})
            alert_store.remove(conn, record)
        action.note(
            conn,
            [_action("alert_removed", one, operator, _detail(one)) for one in found],
        )
    return found


def _detail(one: StoredAlert) -> dict[str, Any]:
    return asdict(one.alert) if one.alert else {}


def _action(what: str, about: StoredAlert, operator: str, detail: dict[str, Any]) -> dict[str, Any]:
    named = {"source": about.source, "source_id": about.source_id}
    return {
        "action": what,
        "subject": str(about.id),
        "outcome": "done",
        "operator": operator,
        "detail": detail | named,
    }
