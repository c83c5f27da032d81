"""Notifications in SQL."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Literal, LiteralString

import psycopg
from psycopg.rows import class_row

from shared import postgres

State = Literal["unsent", "sent", "delivered"]
Place = tuple[datetime, str]
"""Where a notification stands in lists: when it was made, and its id."""

CHOSEN: LiteralString = """
  FROM (SELECT *, CASE WHEN delivered_at IS NOT NULL THEN 'delivered'
                       WHEN sent_at IS NOT NULL THEN 'sent'
                       ELSE 'unsent'
                  END AS state
          FROM notification) AS n
  LEFT JOIN alert a ON a.id = n.alert_id
 WHERE (%(alert_id)s::bigint IS NULL OR n.alert_id = %(alert_id)s::bigint)
   AND (%(provider_id)s::bigint IS NULL OR n.provider_id = %(provider_id)s::bigint)
   AND (%(condition)s::text IS NULL OR n.condition = %(condition)s::text)
   AND (%(state)s::text IS NULL OR n.state = %(state)s::text)
   AND (%(since)s::timestamptz IS NULL OR n.created_at >= %(since)s::timestamptz)
   AND (%(until)s::timestamptz IS NULL OR n.created_at < %(until)s::timestamptz)
"""
SELECT_NOTIFICATIONS: LiteralString = f"""
SELECT n.id, n.alert_id, n.provider_id, a.source, a.source_id, n.condition,
       n.threshold::text AS threshold, n.epoch, n.boundary, n.balance::text AS balance,
       n.previous::text AS previous, n.state, n.created_at, n.sent_at, n.delivered_at, n.error
{CHOSEN}
   AND (n.created_at, n.id) < (%(before_at)s, %(before_id)s)
 ORDER BY n.created_at DESC, n.id DESC
 LIMIT %(limit)s
"""
COUNT: LiteralString = f"""
SELECT n.state, count(*)
{CHOSEN}
 GROUP BY n.state
"""


@dataclass(frozen=True, slots=True)
class Notification:
    """A row of `notification`; amounts in minor units, as digits.

    `condition` and `threshold` are what its alert said when it was judged. `previous` is the
    balance at the due tick before. `error` says why it is not sent yet.
    """

    id: str
    alert_id: int
    provider_id: int
    source: str | None
    source_id: str | None
    condition: str | None
    threshold: str | None
    epoch: int
    boundary: datetime | None
    balance: str
    previous: str | None
    state: State
    created_at: datetime
    sent_at: datetime | None
    delivered_at: datetime | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which notifications: those that fit everything that is given."""

    alert_id: int | None = None
    provider_id: int | None = None
    condition: str | None = None
    state: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def newest(
    conn: psycopg.Connection, choice: Choice, limit: int, before: Place | None = None
) -> list[Notification]:
    """Return those that are meant, newest first, up to `limit`, made before a place in the list."""
    at, last = before or ("infinity", "")
    wanted = asdict(choice) | {"limit": limit, "before_at": at, "before_id": last}
    with postgres.translating(), conn.cursor(row_factory=class_row(Notification)) as cursor:
        return cursor.execute(SELECT_NOTIFICATIONS, wanted).fetchall()


def count(conn: psycopg.Connection, choice: Choice) -> dict[State, int]:
    """Return how many are meant, by state."""
    with postgres.translating():
        found: dict[str, int] = dict(conn.execute(COUNT, asdict(choice)).fetchall())
    return {
        "unsent": found.get("unsent", 0),
        "sent": found.get("sent", 0),
        "delivered": found.get("delivered", 0),
    }
