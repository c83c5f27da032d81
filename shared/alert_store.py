"""Alerts in SQL. Every function works in its caller's transaction and never commits."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from shared.alert import EACH_PROVIDER_MAX, Alert, Condition
from shared.change_record import ChangeRecord, Outcome
from shared.unfit import Unfit

# Judged from the first due tick after this one that sees `xid`. What is said again as it was goes
# on being judged as before: no crossing between the two deliveries may be lost.
NEWEST_DUE_TICK: LiteralString = """
coalesce((SELECT epoch FROM tick WHERE NOT interim ORDER BY epoch DESC LIMIT 1), 0)
"""
UPSERT: LiteralString = f"""
INSERT INTO alert AS a (source, source_id, version, provider_id, condition, threshold, for_seconds,
       since_epoch, active)
VALUES (%(source)s, %(source_id)s, %(version)s, %(provider_id)s, %(condition)s, %(threshold)s,
        %(for_seconds)s, {NEWEST_DUE_TICK}, true)
ON CONFLICT (source, source_id) DO UPDATE
   SET version = coalesce(excluded.version, a.version),
       provider_id = excluded.provider_id,
       condition = excluded.condition,
       threshold = excluded.threshold,
       for_seconds = excluded.for_seconds,
       active = true,
       (since_epoch, xid) = (
           SELECT CASE WHEN is_same THEN a.since_epoch ELSE excluded.since_epoch END,
                  CASE WHEN is_same THEN a.xid ELSE excluded.xid END
             FROM (SELECT a.active
                          AND (a.provider_id, a.condition, a.threshold, a.for_seconds)
                              IS NOT DISTINCT FROM (excluded.provider_id, excluded.condition,
                                                    excluded.threshold, excluded.for_seconds)
                  ) AS said_again (is_same))
 WHERE a.version IS NULL
    OR excluded.version IS NULL
    OR excluded.version > a.version
RETURNING id
"""  # noqa: S608 - constants of ours only
# A tombstone keeps the largest version that is known: it holds against all up to that one.
REMOVE: LiteralString = f"""
INSERT INTO alert AS a (source, source_id, version, since_epoch, active)
VALUES (%(source)s, %(source_id)s, %(version)s, {NEWEST_DUE_TICK}, false)
ON CONFLICT (source, source_id) DO UPDATE
   SET version = coalesce(excluded.version, a.version),
       active = false
 WHERE a.version IS NULL
    OR excluded.version IS NULL
    OR excluded.version > a.version
RETURNING id
"""  # noqa: S608 - constants of ours only
# Else two who add one at the same time would both find that there is room.
LOCK_EACH_PROVIDER: LiteralString = """
SELECT pg_advisory_xact_lock(hashtextextended('minutebook:alerts', 0))
"""
COUNT_EACH_PROVIDER: LiteralString = """
SELECT count(*)
  FROM alert
 WHERE active
   AND provider_id IS NULL
"""
SELECT_ALERTS: LiteralString = """
SELECT id, source, source_id, version, provider_id, condition, threshold::text, for_seconds,
       since_epoch, active, created_at
  FROM alert
 WHERE (active OR %(removed)s)
   AND (%(ids)s::bigint[] IS NULL OR id = ANY (%(ids)s::bigint[]))
   AND (%(provider_id)s::bigint IS NULL OR provider_id = %(provider_id)s::bigint
        OR provider_id IS NULL AND condition IS NOT NULL)
   AND (%(source)s::text IS NULL OR source = %(source)s::text)
   AND (%(source_id)s::text IS NULL OR source_id = %(source_id)s::text)
   AND (%(condition)s::text IS NULL OR condition = %(condition)s::text)
   AND id > %(after)s
 ORDER BY id
 LIMIT %(most)s::bigint
"""
SELECT_FOR_UPDATE: LiteralString = SELECT_ALERTS + "FOR UPDATE"


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """A row of `alert`; one that was removed may have no more than its name.

    `threshold` is in minor units, as digits: JSON numbers lose some of them in many clients.
    """

    id: int
    source: str
    source_id: str
    version: int | None
    provider_id: int | None
    condition: Condition | None
    threshold: str | None
    for_seconds: int | None
    since_epoch: int
    active: bool
    created_at: datetime

    @property
    def alert(self) -> Alert | None:
        """What it asks for; None once it was removed."""
        if not self.active or self.condition is None:
            return None
        threshold = None if self.threshold is None else int(self.threshold)
        return Alert(self.provider_id, self.condition, threshold, self.for_seconds)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which alerts: those that fit everything that is given. Removed ones only if asked for.

    With `provider_id` those of each provider are meant, too. `most` of them `after` an id.
    """

    ids: tuple[int, ...] = ()
    provider_id: int | None = None
    source: str | None = None
    source_id: str | None = None
    condition: str | None = None
    removed: bool = False
    after: int = 0
    most: int | None = None


def put(conn: psycopg.Connection, record: ChangeRecord, alert: Alert) -> Outcome:
    """Add or change an alert. Raises `Unfit` (`too_many`): the caller then rolls back."""
    if alert.provider_id is None:
        conn.execute(LOCK_EACH_PROVIDER)
    outcome = _written(conn, UPSERT, _name(record) | asdict(alert))
    if alert.provider_id is None and outcome == "applied":
        found = conn.execute(COUNT_EACH_PROVIDER).fetchone() or (0,)
        if found[0] > EACH_PROVIDER_MAX:
            raise Unfit(
                "too_many", f"there are {EACH_PROVIDER_MAX} alerts of each provider already"
            )
    return outcome


def remove(conn: psycopg.Connection, record: ChangeRecord) -> Outcome:
    """Remove an alert; a tombstone stays, also of one that was not known."""
    return _written(conn, REMOVE, _name(record))


def select(conn: psycopg.Connection, choice: Choice, *, locked: bool = False) -> list[StoredAlert]:
    """Return the alerts that are meant, by id; `locked` until the commit."""
    query = SELECT_FOR_UPDATE if locked else SELECT_ALERTS
    wanted = asdict(choice) | {"ids": list(choice.ids) or None}
    with conn.cursor(row_factory=class_row(StoredAlert)) as cursor:
        return cursor.execute(query, wanted).fetchall()


def _name(record: ChangeRecord) -> dict[str, object]:
    return {
        "source": record.source, "source_id": record.source_id, "version": record.version,
    }  # fmt: skip


def _written(conn: psycopg.Connection, query: LiteralString, values: dict[str, object]) -> Outcome:
    return "applied" if conn.execute(query, values).fetchone() else "ignored"
