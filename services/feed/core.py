"""The events of a tick: their names, ids and bodies. No I/O.

An id is made of the tick's token, so that an event that is sent again is known as a repetition.
"""

from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

TRANSACTION, PROVIDER, BALANCE = "transaction", "provider", "balance"
"""What an event may be about, as its name begins."""
CLOSED = "tick.closed"

QUIET_BEFORE_S, QUIET_AFTER_S = 0.15, 0.05
"""Around a boundary nothing is read or published: the tick needs the processors and the disk."""


def quiet_s(at: float, interval_s: int) -> float:
    """Return for how long it is still quiet at `at` (Unix seconds); 0 outside of it."""
    return max(0.0, QUIET_BEFORE_S + QUIET_AFTER_S - (at + QUIET_BEFORE_S) % interval_s)


class Change(msgspec.Struct, frozen=True):
    """`transaction.*`, `provider.*`: an outbox row; `amount` is what it adds to the balance.

    `source_id` is the id of the row that changed: the transaction's, or the provider's.
    `message_id` is null where the row is gone, and for providers. `tick` is the boundary.
    """

    event: str
    id: str
    operation: str
    source_id: int
    provider_id: int
    amount: str
    message_id: str | None
    tick: datetime | None
    epoch: int


class Balance(msgspec.Struct, frozen=True):
    """`balance.*`: a balance and its name in KeyDB; null as `key`: nothing is shown there.

    `previous` and `previous_key` are those of the due tick before, null where there was none;
    `balance.read` has neither.
    """

    event: str
    id: str
    operation: str
    source_id: int
    provider_id: int
    key: str | None
    balance: str
    previous: str | UnsetType | None
    previous_key: str | UnsetType | None
    tick: datetime | None
    epoch: int


class Closed(msgspec.Struct, frozen=True):
    """`tick.closed`: all events of the tick came before it, so many of each kind.

    `amount` is what the tick added to all balances together. `previous_id` is the `tick.closed`
    before; null if `anew`: then what was read replaces all that was known.
    """

    event: str
    id: str
    tick: datetime | None
    epoch: int
    previous_id: str | None
    anew: bool
    transactions: int
    providers: int
    balances: int
    amount: str


class Message(NamedTuple):
    """An event as it is published: `name` is its routing key and `type`, `id` its `message_id`."""

    name: str
    id: str
    body: bytes
    traceparent: str | None = None


class ChangeRow(NamedTuple):
    """A row of the outbox, and the identity of the message that its transaction came by."""

    id: int
    transaction_id: int | None
    provider_id: int
    amount: str
    operation: str
    traceparent: str | None
    message_id: str | None


class BalanceRow(NamedTuple):
    """What a tick made of a balance. None before: there was none."""

    provider_id: int
    key: str | None
    balance: str
    previous_key: str | None = None
    previous: str | None = None


_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


class Events:
    """Makes the events of one tick, and counts them for its `tick.closed`."""

    def __init__(
        self, epoch: int, token: str, boundary: datetime | None, start: str | None = None
    ) -> None:
        """`start` names this start, if the tick is one at which the feed starts anew."""
        self._epoch = epoch
        self._tick = boundary
        self._ids = token if start is None else f"{token}:r:{start}"
        self.counts: Counter[str] = Counter()
        """How many of each kind were made."""
        self._anew = start is not None
        self.closing_id = f"{self._ids}:tick"
        """The id of this tick's `tick.closed`."""

    def change(self, row: ChangeRow) -> Message:
        """Return the event of a row of the outbox."""
        kind = PROVIDER if row.transaction_id is None else TRANSACTION
        self.counts[kind] += 1
        event = Change(
            event=f"{kind}.{row.operation}",
            id=f"{self._ids}:t:{row.id}",
            operation=row.operation.upper(),
            source_id=row.provider_id if row.transaction_id is None else row.transaction_id,
            provider_id=row.provider_id,
            amount=row.amount,
            message_id=row.message_id,
            tick=self._tick,
            epoch=self._epoch,
        )
        return Message(event.event, event.id, _encode(event), row.traceparent)

    def balance(self, row: BalanceRow) -> Message:
        """Return the event of a balance or key that the tick changed."""
        name, operation = "changed", "MODIFIED"
        if row.key is None and row.previous_key is not None:
            name, operation = "removed", "REMOVED"
        elif row.previous_key is None and row.key is not None:
            operation = "ADDED"
        return self._balance(
            row, f"{BALANCE}.{name}", f"{self._ids}:b:{row.provider_id}", operation
        )

    def read(self, row: BalanceRow) -> Message:
        """Return the event of a balance as it stands at the tick, whatever was before."""
        return self._balance(row, f"{BALANCE}.read", f"{self._ids}:{row.provider_id}", "READ")

    def closed(self, previous_id: str | None, amount: str) -> Message:
        """Return the last event of the tick."""
        event = Closed(
            event=CLOSED,
            id=self.closing_id,
            tick=self._tick,
            epoch=self._epoch,
            previous_id=previous_id,
            anew=self._anew,
            transactions=self.counts[TRANSACTION],
            providers=self.counts[PROVIDER],
            balances=self.counts[BALANCE],
            amount=amount,
        )
        return Message(CLOSED, event.id, _encode(event))

    def _balance(self, row: BalanceRow, name: str, event_id: str, operation: str) -> Message:
        self.counts[BALANCE] += 1
        event = Balance(
            event=name,
            id=event_id,
            operation=operation,
            source_id=row.provider_id,
            provider_id=row.provider_id,
            key=row.key,
            balance=row.balance,
            previous=UNSET if self._anew else row.previous,
            previous_key=UNSET if self._anew else row.previous_key,
            tick=self._tick,
            epoch=self._epoch,
        )
        return Message(name, event_id, _encode(event))
