"""What the commands print that change something, or compare in order to repair."""

from datetime import datetime
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # typing's own lacks what pydantic reads

from ops.dead_letters.absent import Absent
from ops.prices.symbols import ProviderSymbol
from ops.providers.store import Provider
from ops.reconcile.loss import Loss
from ops.repair.corrections import Repaired
from reconciliation.drift import KeydbDrift
from shared.alert_store import StoredAlert


class AlertAdded(TypedDict):
    """The alert as it is now; it was there if it says the same under the same name.

    `note`: its provider does not exist yet.
    """

    alert: StoredAlert
    note: NotRequired[str]


class AlertsRemoved(TypedDict):
    """The alerts as they were."""

    removed: list[StoredAlert]


class SymbolAssigned(TypedDict):
    """What a provider's balance is in now. `note`: the provider does not exist yet."""

    symbol: ProviderSymbol
    note: NotRequired[str]


class SymbolUnassigned(TypedDict):
    """What a provider's balance was in."""

    symbol: ProviderSymbol


class PricesDeleted(TypedDict):
    """How many were deleted, or would be."""

    deleted: int
    dry_run: bool


class ProviderDone(TypedDict):
    """The provider as it is now; not `as_asked` if a trigger made something else of it."""

    provider: Provider
    as_asked: bool


class FollowerDone(TypedDict):
    """Which follower, and what was done."""

    follower: str
    done: Literal["anew", "forgotten"]


class DeadLetter(TypedDict):
    """A dead letter; its body byte for byte in base64. `dead-letters export` writes one a line."""

    id: int
    message_id: str
    reason: str
    error: str
    state: str
    queue: str
    received_at: datetime
    provider_id: int | None
    value: int | None
    properties: dict[str, Any]
    body_base64: str


class DeadLetterCount(TypedDict):
    """How many of one state and reason."""

    state: str
    reason: str
    letters: int


class DeadLetters(TypedDict):
    """Counts are of all that were chosen, `letters` up to --limit."""

    counts: list[DeadLetterCount]
    letters: list[DeadLetter]
    absent: list[Absent]


class Exported(TypedDict):
    """How many were written, and where."""

    letters: int
    output: str
    absent: list[Absent]


class Purged(TypedDict):
    """How many were deleted."""

    purged: int
    absent: list[Absent]


class WouldGo(TypedDict):
    """A dead letter that a purge would delete, and why it is one."""

    id: int
    outcome: Literal["deleted"]
    reason: str


class PurgeTried(TypedDict):
    """A dry run: nothing was deleted, `letters` would be."""

    purged: int
    absent: list[Absent]
    dry_run: bool
    letters: list[WouldGo]


class TransactionReversed(TypedDict):
    """The row of `message_id`, and the row that takes it back; a dry run made none."""

    message_id: str
    row: int
    reversal: str
    reversal_row: int | None
    provider_id: int
    value: int
    dry_run: bool


class LedgerDrifted(TypedDict):
    """A drift, and what is `missing` of its balance."""

    provider_id: int
    truth: int
    balance: int
    unfolded: int
    key: str | None
    shown: str | None
    missing: int


class LedgerCompared(TypedDict):
    """Your tables against the balances; `drifts` has details of some that are `drifting`."""

    epoch: int
    providers: int
    transactions: int
    drifting: list[int]
    drifts: list[LedgerDrifted]


class KeydbCompared(TypedDict):
    """KeyDB against the balances of the tick that it shows."""

    state: str
    epoch: int | None
    keys: int
    drifting: list[str]
    drifts: list[KeydbDrift]


class Reconciled(TypedDict):
    """How much differs, whether transactions were lost, and what was repaired."""

    drifting: int
    duration_s: float
    ledger: LedgerCompared
    keydb: KeydbCompared
    lost: Loss | None
    repaired: Repaired | None


class Moved(TypedDict):
    """How many rows left the outbox's default partition."""

    moved: int
