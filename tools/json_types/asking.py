"""What the commands print that only ask."""

from datetime import date, datetime

from typing_extensions import TypedDict  # typing's own lacks what pydantic reads

from ops.doctor.core import Check
from ops.followers.store import Follower
from ops.prices.store import StoredPrice
from ops.prices.symbols import ProviderSymbol
from ops.repair.audit import Difference
from ops.repair.partitions import Partition
from ops.status.core import Finding
from ops.status.snapshot import Down, Ledger, Queues, Service, Shown
from shared.alert_store import StoredAlert
from shared.ledger.notifications import Notification, State
from shared.ledger.request import Document
from shared.ledger.returns import Return, TotalReturn
from shared.ledger.statement import End, Movement
from shared.ledger.valuation import Total, Unvalued, Value


class Error(TypedDict):
    """Why a command could not do its work; `kind` is from a small set."""

    kind: str
    detail: str


class Failed(TypedDict):
    """What any command prints instead of its own document if it could not do its work."""

    error: Error


class Alerts(TypedDict):
    """Alerts, oldest first."""

    alerts: list[StoredAlert]


class Notifications(TypedDict):
    """Counts are of all that were chosen, `notifications` up to --limit, newest first."""

    counts: dict[State, int]
    notifications: list[Notification]


class Requests(TypedDict):
    """Up to --limit, newest first."""

    requests: list[Document]


class Status(TypedDict):
    """`ok` is what the exit code says."""

    ok: bool
    looked_at: datetime
    findings: list[Finding]
    not_asked: list[str]
    interval_s: float
    postgres: Ledger | Down
    rabbitmq: Queues | Down
    keydb: Shown | Down
    services: list[Service]


class Doctor(TypedDict):
    """`ok` unless a check failed."""

    ok: bool
    checks: list[Check]


class BalanceNow(TypedDict):
    """A balance in minor units; `keydb` is what KeyDB shows, `uncounted` came after the tick."""

    provider_id: int
    key: str
    balance: int
    keydb: str | None
    same: bool
    uncounted: int


class Balances(TypedDict):
    """All balances, and the boundary that KeyDB shows."""

    keydb_boundary: str | None
    balances: list[BalanceNow]


class BalanceThen(TypedDict):
    """A balance in minor units."""

    key: str
    balance: int


class BalancesAsOf(TypedDict):
    """All balances of the last tick at or before `as_of`."""

    as_of: datetime
    boundary: datetime
    epoch: int
    balances: list[BalanceThen]


class Stated(TypedDict):
    """A statement: what the ticks after `opening`, up to `closing`, counted.

    `not_itemised` is the sum of the movements called so, in minor units.
    """

    provider_id: int
    opening: End
    movements: list[Movement]
    closing: End
    not_itemised: str


class Rows(TypedDict):
    """A number of outbox rows, and their sum in minor units."""

    rows: int
    amount: int


class Audited(TypedDict):
    """`clean` if the tick wrote what its rows add up to; not all `differences` are listed."""

    clean: bool
    epoch: int
    boundary: datetime | None
    written: Rows
    recomputed: Rows
    differing: int
    differences: list[Difference]


class Partitions(TypedDict):
    """The outbox's partitions; `default_rows` should be none."""

    default_rows: int
    partitions: list[Partition]


class Followers(TypedDict):
    """All of them."""

    followers: list[Follower]


class ProviderListed(TypedDict):
    """A provider and its key in KeyDB; `initial_value` in minor units."""

    id: int
    provider_name: str
    initial_value: int
    key: str


class Providers(TypedDict):
    """All of them."""

    providers: list[ProviderListed]


class Prices(TypedDict):
    """Up to --limit, by symbol and currency, the newest day first; `more`: not all are listed."""

    prices: list[StoredPrice]
    more: bool


class PriceShown(TypedDict):
    """The price that counts on a day."""

    price: StoredPrice


class Symbols(TypedDict):
    """What the balance of each provider is in."""

    symbols: list[ProviderSymbol]


class Values(TypedDict):
    """What balances are worth by the prices of `day`, exactly; `currency` null: in each.

    The balances are those of `tick`. `not_valued` has providers without value by reason.
    """

    day: date
    currency: str | None
    tick: datetime
    epoch: int
    providers: list[Value]
    totals: list[Total]
    not_valued: dict[Unvalued, int]


Returns = TypedDict(
    "Returns",
    {
        "from": date,
        "to": date,
        "currency": str | None,
        "providers": list[Return],
        "totals": list[TotalReturn],
        "not_valued": dict[Unvalued, int],
    },
)
"""What was earned between the ends of two days; rates are rounded to 10 digits."""
