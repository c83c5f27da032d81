"""What is found at one moment: facts only, nothing is assessed here."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from ops.followers.store import Follower
from shared.amqp.connection import QueueState
from shared.errors import Busy, Denied
from shared.health import NOT_BEGUN, NOT_CONNECTED
from shared.ledger.disk_usage import DiskUsage


@dataclass(frozen=True, slots=True)
class Down:
    """A server that gave no answer, and why."""

    state: ClassVar[str] = "gives no answer"
    error: str


class Refuses(Down):
    """A server that answered, and would not have us."""

    state: ClassVar[str] = Denied.state


class Occupied(Down):
    """A server in which somebody else has what was needed."""

    state: ClassVar[str] = Busy.state


@dataclass(frozen=True, slots=True)
class LastTick:
    """The newest row of `tick`; without a boundary it is the baseline."""

    epoch: int
    token: str
    boundary: datetime | None
    folded_at: datetime
    published_at: datetime | None
    same_cluster: bool

    @property
    def lateness_s(self) -> float | None:
        """From the boundary to KeyDB, by KeyDB's clock."""
        if self.boundary is None or self.published_at is None:
            return None
        return (self.published_at - self.boundary).total_seconds()


@dataclass(frozen=True, slots=True)
class Dead:
    """Dead letters of one state and reason."""

    state: str
    reason: str
    letters: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class Blocked:
    """A service of ours that waits in Postgres for a lock, and the processes that hold it."""

    service: str
    holders: list[int]
    since_s: float


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests that are not decided, how old the oldest is, and those that failed in a day."""

    open: int
    oldest_s: float | None
    failed: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """What Postgres says; without a schema of ours only the first three, and what is missing."""

    version: str
    now: datetime
    schema: int
    tick: LastTick | None = None
    interval_s: float | None = None
    unfolded_rows: int = 0
    unfolded_age_s: float | None = None
    default_partition_rows: int = 0
    providers: int = 0
    blocked: list[Blocked] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    missing: str = ""
    followers: list[Follower] = field(default_factory=list)
    disk: DiskUsage | None = None
    requests: Requests | None = None
    """None where neither a tracker nor a request was ever there."""


@dataclass(frozen=True, slots=True)
class Unacknowledged:
    """How many messages ingest has not acknowledged; `stuck` if it acknowledged none lately."""

    messages: int
    stuck: bool


@dataclass(frozen=True, slots=True)
class Queues:
    """What RabbitMQ says: the transactions' queue or stream, and the syncer's queue.

    Of a stream it never says who reads it, and its messages are all that are kept, read or not.
    `unacknowledged` is None where its management page is not set.
    """

    version: str
    source: str
    transactions: QueueState | None
    ticks: QueueState | None
    is_stream: bool = False
    unacknowledged: Unacknowledged | Down | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """What KeyDB shows: its watermark, whether Postgres wrote that tick, and how many keys."""

    version: str
    now: datetime
    epoch: str
    token: str
    boundary: datetime | None
    applied_at: datetime | None
    keys: int
    known: bool | None = None

    @property
    def age_s(self) -> float | None:
        """Since the boundary that is shown, by KeyDB's clock."""
        return (self.now - self.boundary).total_seconds() if self.boundary else None


ABSENT = "host name not found: it does not run"
CLOSED = "connection refused: it is about to start, or ends at its start"
SILENT = "no reply in time: it is paused, frozen, or cut off"


@dataclass(frozen=True, slots=True)
class Service:
    """What one process of ours says of itself: what is wrong by part, or why it does not answer."""

    name: str
    address: str
    problems: dict[str, str]
    error: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it answered, and that everything is healthy."""
        return not (self.error or self.problems)

    @property
    def starting(self) -> bool:
        """Whether all that it lacks is its first connections, which it is making."""
        return bool(self.problems) and {*self.problems.values()} <= {NOT_BEGUN, NOT_CONNECTED}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that was found at one moment; `interval_s` is what lies between two boundaries.

    `services` is empty where OPS_SERVICES is not set; `composed` are those programs,
    servers and ours, that compose runs.
    """

    interval_s: float
    postgres: Ledger | Down
    rabbitmq: Queues | Down
    keydb: Shown | Down
    services: list[Service] = field(default_factory=list)
    composed: frozenset[str] = frozenset()

    @property
    def not_asked(self) -> list[str]:
        """What could be wrong and was not looked at."""
        unasked = [] if self.services else ["the services (OPS_SERVICES)"]
        queues = self.rabbitmq
        if isinstance(queues, Queues) and queues.transactions and not queues.is_stream:
            held = queues.unacknowledged
            if not isinstance(held, Unacknowledged):
                why = held.error if held else "RABBITMQ_MANAGEMENT_URL"
                unasked.append(f"unacknowledged messages ({why})")
        return unasked
