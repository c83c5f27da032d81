"""What alerts should say, worked out from a history of balances by someone who knows no SQL."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Alert:
    """As a row of `alert`; without a `provider` it is of each."""

    id: int
    provider: int | None
    condition: str
    threshold: int | None
    for_s: int | None
    since_epoch: int


@dataclass(frozen=True)
class PastTick:
    """A due tick: the balance of each provider that was there, and which of them moved."""

    epoch: int
    token: str
    boundary: datetime
    balances: dict[int, int]
    moved: frozenset[int]


@dataclass(frozen=True)
class Told:
    """What a notification says."""

    alert: Alert
    provider: int
    tick: PastTick
    balance: int
    previous: int | None

    @property
    def id(self) -> str:
        return f"{self.tick.token}:n:{self.alert.id}:{self.provider}"


def judged(alerts: Iterable[Alert], history: Sequence[PastTick]) -> dict[str, Told]:
    """Return what is told of the last tick of `history`, by id."""
    before, tick = history[-2:]
    told = [
        Told(alert, provider, tick, balance, before.balances.get(provider))
        for alert in alerts
        if alert.since_epoch <= before.epoch
        for provider, balance in tick.balances.items()
        if alert.provider in (None, provider) and _is_met(alert, provider, history)
    ]
    return {one.id: one for one in told}


def _is_met(alert: Alert, provider: int, history: Sequence[PastTick]) -> bool:
    before, tick = history[-2:]
    balance, previous = tick.balances[provider], before.balances.get(provider)
    if alert.condition == "silent":
        moved = max(one.boundary for one in history if provider in one.moved)
        silent = timedelta(seconds=alert.for_s or 0)
        return before.boundary - silent < moved <= tick.boundary - silent
    threshold = alert.threshold or 0
    if alert.condition == "change":
        return previous is not None and abs(balance - previous) >= threshold
    if alert.condition == "below":
        return balance < threshold and (previous is None or previous >= threshold)
    return balance > threshold and (previous is None or previous <= threshold)
