"""What a notification says, without clock, socket or randomness."""

from datetime import datetime

import msgspec

from shared.alert import Condition


class Notification(msgspec.Struct, frozen=True):
    """One alert was met by one provider at one tick, as the message says it.

    Amounts are minor units as decimal strings. `balance` is that of the tick, `previous` that of
    the due tick before, None if the provider was not there. `threshold` is what the alert said when
    it was judged, None for `silent`. `boundary` is None where a wrong clock's was taken back.
    """

    id: str
    alert_id: int
    source: str | None
    source_id: str | None
    condition: Condition
    threshold: str | None
    provider_id: int
    key: str | None
    balance: str
    previous: str | None
    boundary: datetime | None = msgspec.field(name="tick")
    epoch: int

    @property
    def routing_key(self) -> str:
        """By it a consumer binds to what it wants: `below.*`, `*.17`."""
        return f"{self.condition}.{self.provider_id}"


def encode(notification: Notification) -> bytes:
    """Return the message body."""
    return msgspec.json.encode(notification)
