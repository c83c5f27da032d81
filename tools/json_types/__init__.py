"""What the commands of `ops` print with `--json`: a type for each, of which the schemas are made.

Types of the code's own stand for themselves. A document that a command builds as a dictionary is
described here; the tests hold every document that they see against its schema.
"""

from collections.abc import Mapping
from typing import Any

from ops.dead_letters.replay import Replayed
from ops.prices.command import Outcome
from ops.repair.rebuild import Rebuilt
from ops.tracking.command import Shown
from shared.ledger.life import Life
from shared.ledger.series import Series
from tools.json_types import acting, asking, sending

DOCUMENTS: Mapping[str, Any] = {
    "alert add": acting.AlertAdded,
    "alert list": asking.Alerts,
    "alert remove": acting.AlertsRemoved,
    "audit": asking.Audited,
    "balances": asking.Balances | asking.BalancesAsOf | Series,
    "dead-letters export": acting.Exported,
    "dead-letters list": acting.DeadLetters,
    "dead-letters purge": acting.Purged | acting.PurgeTried,
    "dead-letters replay": Replayed,
    "dead-letters show": acting.DeadLetter,
    "doctor": asking.Doctor,
    "feed replay": sending.EventsSent,
    "find": Life,
    "followers anew": acting.FollowerDone,
    "followers forget": acting.FollowerDone,
    "followers list": asking.Followers,
    "load": sending.Loaded,
    "notifications list": asking.Notifications,
    "outbox partitions": asking.Partitions,
    "outbox repair": acting.Moved,
    "prices assign": acting.SymbolAssigned,
    "prices delete": acting.PricesDeleted,
    "prices import": Outcome,
    "prices list": asking.Prices,
    "prices show": asking.PriceShown,
    "prices symbols": asking.Symbols,
    "prices unassign": acting.SymbolUnassigned,
    "provider add": acting.ProviderDone,
    "provider list": asking.Providers,
    "provider remove": acting.ProviderDone,
    "provider rename": acting.ProviderDone,
    "provider set-initial": acting.ProviderDone,
    "rebuild": Rebuilt,
    "reconcile": acting.Reconciled,
    "requests list": asking.Requests,
    "requests show": Shown,
    "send": sending.Sent,
    "statement": asking.Stated,
    "status": asking.Status,
    "transaction reverse": acting.TransactionReversed,
    "value": asking.Values | asking.Returns,
}
"""By command, without `ops`."""

FAILED = asking.Failed
EXPORTED_DEAD_LETTER = acting.DeadLetter
"""A line of `dead-letters export`."""
