"""The documents that questions are answered with. Amounts are minor units, as decimal strings."""

from datetime import date, datetime

import msgspec

from shared.alert_store import StoredAlert
from shared.ledger.balance_page import ShownBalance
from shared.ledger.notifications import Notification
from shared.ledger.request import Document
from shared.ledger.returns import Return, TotalReturn
from shared.ledger.statement import End, Movement
from shared.ledger.valuation import Total, Unvalued, Value


class Balances(msgspec.Struct):
    """A page of the balances of one tick. `next` is the cursor of the page after it."""

    tick: datetime
    epoch: int
    balances: list[ShownBalance]
    next: str | None


class Statement(msgspec.Struct):
    """What the ticks after `opening`, up to `closing`, counted.

    `not_itemised` is the sum of the movements called so.
    """

    provider_id: int
    opening: End
    movements: list[Movement]
    closing: End
    not_itemised: str


class Valuation(msgspec.Struct):
    """A page of what balances are worth by the prices of `day`; `currency` null: in each.

    Totals, and how many providers are not valued by reason, are on the first page. `next` is the
    cursor of the page after it.
    """

    day: date
    currency: str | None
    tick: datetime
    epoch: int
    providers: list[Value]
    totals: list[Total] | None
    not_valued: dict[Unvalued, int] | None
    next: str | None


class Returns(msgspec.Struct):
    """A page of what was earned between the ends of two days. As of `Valuation`.

    No totals on the first page either: there are too many providers and days for one answer.
    """

    first: date = msgspec.field(name="from")
    last: date = msgspec.field(name="to")
    currency: str | None
    providers: list[Return]
    totals: list[TotalReturn] | None
    not_valued: dict[Unvalued, int] | None
    next: str | None


class Requests(msgspec.Struct):
    """Requests, newest first. `next` is the cursor of the page after it."""

    requests: list[Document]
    next: str | None


class Alerts(msgspec.Struct):
    """Alerts, oldest first. `next` is the cursor of the page after it."""

    alerts: list[StoredAlert]
    next: str | None


class Notifications(msgspec.Struct):
    """What was told of alerts, newest first. `next` is the cursor of the page after it."""

    notifications: list[Notification]
    next: str | None
