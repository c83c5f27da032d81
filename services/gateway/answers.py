"""The documents that questions are answered with. Amounts are minor units, as decimal strings."""

from datetime import datetime

import msgspec

from shared.alert_store import StoredAlert
from shared.ledger.balance_page import ShownBalance
from shared.ledger.notifications import Notification
from shared.ledger.request import Document
from shared.ledger.statement import End, Movement


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


class Requests(msgspec.Struct):
    """Requests, newest first. `next` is the cursor of the page after it."""

    requests: list[Document]
    next: str | None


class Alerts(msgspec.Struct):
    """Alerts, oldest first. `next` is the cursor of the page after it."""

    alerts: list[StoredAlert]
    next: str | None


class Notifications(msgspec.Struct):
    """What was told of alerts, newest first."""

    notifications: list[Notification]
