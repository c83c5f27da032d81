"""Messages as JSON Schemas describe them, where the code has no type that says as much."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from shared.alert import THRESHOLD_DIGITS_MAX, Condition
from shared.change_record import NAME_BYTES_MAX, Operation
from shared.price import FRACTION_DIGITS_MAX, WHOLE_DIGITS_MAX
from shared.request_message import ITEMS_MAX
from shared.transaction_body import INT64_MAX, INT64_MIN

Int64 = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_BYTES_MAX)]
Digits = Annotated[str, msgspec.Meta(pattern=rf"^-?[0-9]{{1,{THRESHOLD_DIGITS_MAX}}}$")]


class Transaction(msgspec.Struct):
    """The body of a message to ingest, in UTF-8. Numbers are written as integers: not 600.0."""

    id: Annotated[Int64, msgspec.Meta(description="the provider's id in initial_data")]
    value: Annotated[Int64, msgspec.Meta(description="the amount in minor units")]


class Alert(msgspec.Struct):
    """What is to be told. Amounts are in minor units, as an integer or its digits."""

    provider_id: Annotated[Int64 | None, msgspec.Meta(description="null: each provider")]
    condition: Annotated[Condition, msgspec.Meta(description="when it is met")]
    threshold: Annotated[
        int | Digits | None,
        msgspec.Meta(description="of below, above and change; of change 1 or more"),
    ] = None
    for_seconds: Annotated[
        Annotated[int, msgspec.Meta(ge=1)] | None,
        msgspec.Meta(description="of silent, and of it only; less than history is kept"),
    ] = None


class ChangeRecord(msgspec.Struct):
    """That something was added, modified or removed where it comes from."""

    operation: Annotated[Operation, msgspec.Meta(description="a MODIFIED has all of what it is")]
    source: Annotated[Name, msgspec.Meta(description="who knows of it")]
    source_id: Annotated[Name | Int64, msgspec.Meta(description="its name there")]
    version: Annotated[
        Int64 | None,
        msgspec.Meta(description="grows with each change; not larger than a known one: ignored"),
    ] = None


class AlertRecord(ChangeRecord):
    """A change record: that an alert was added, modified or removed where it comes from."""

    alert: Annotated[
        Alert | None, msgspec.Meta(description="not looked at where it was REMOVED")
    ] = None


Decimal = Annotated[
    str,
    msgspec.Meta(
        pattern=rf"^0*[0-9]{{1,{WHOLE_DIGITS_MAX}}}(\.[0-9]{{1,{FRACTION_DIGITS_MAX}}})?$"
    ),
]


class Price(msgspec.Struct):
    """What one unit of a symbol costs in a currency from a day on, until there is a newer one."""

    symbol: Annotated[Name, msgspec.Meta(description="what providers' balances are in")]
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z0-9]{1,16}$")]
    day: Annotated[str, msgspec.Meta(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="in UTC")]
    price: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | Decimal,
        msgspec.Meta(description="a decimal as text, or a whole number"),
    ]


class PriceRecord(ChangeRecord):
    """A change record: that a price was added, modified or removed where it comes from."""

    price: Annotated[
        Price | None, msgspec.Meta(description="not looked at where it was REMOVED")
    ] = None


class Notification(msgspec.Struct):
    """That an alert was met by a provider at a tick. Amounts are in minor units, as digits."""

    id: Annotated[Name, msgspec.Meta(description="a repetition has the same one")]
    alert_id: int
    source: str | None
    source_id: str | None
    condition: Condition
    threshold: Annotated[Digits | None, msgspec.Meta(description="null: of silent")]
    provider_id: Int64
    key: Annotated[str | None, msgspec.Meta(description="the provider's name in KeyDB")]
    balance: str
    previous: Annotated[str | None, msgspec.Meta(description="null: there was none")]
    tick: Annotated[
        datetime | None,
        msgspec.Meta(description="the boundary; null: taken back, of a wrong clock"),
    ]
    epoch: int


class Answer(msgspec.Struct):
    """That a notification was delivered to whom it concerns."""

    id: Annotated[Name, msgspec.Meta(description="the notification's")]


class Sighting(msgspec.Struct):
    """That somebody has seen an object: the observer looks it up."""

    object_id: Annotated[Int64, msgspec.Meta(description="the object's, at the API that is asked")]


Key = Annotated[
    str,
    msgspec.Meta(
        pattern="^[A-Za-z0-9._~-]{1,200}$",
        extra_json_schema={"not": {"enum": [".", ".."]}},  # RE2 knows no lookahead
    ),
]
Provider = Annotated[Int64 | str, msgspec.Meta(description="an id, or the key in KeyDB")]


class Request(msgspec.Struct):
    """Transactions under one key. The same key with the same items happens once."""

    request: Annotated[Key, msgspec.Meta(description="the request's key")]
    items: Annotated[
        list[Any],
        msgspec.Meta(min_length=1, max_length=ITEMS_MAX, description="as transactions to ingest"),
    ]
    by: Annotated[str, msgspec.Meta(description="who sends it")] = ""


class Question(msgspec.Struct):
    """A question that is answered to reply_to. Times are RFC 3339 with their time zone."""

    request: Annotated[Key, msgspec.Meta(description="the question's key")]
    ask: Literal["balances", "statement", "valuation"]
    by: Annotated[str, msgspec.Meta(description="who asks")] = ""
    provider: Provider | None = None
    as_of: Annotated[
        str | None,
        msgspec.Meta(description="of balances, a time; of valuation, a day; now, if not given"),
    ] = None
    in_: Annotated[
        str | None, msgspec.Meta(description="of valuation: a currency; each, if not given")
    ] = msgspec.field(default=None, name="in")
    from_: Annotated[
        str | None, msgspec.Meta(description="of statement; the oldest tick, if not given")
    ] = msgspec.field(default=None, name="from")
    to: Annotated[str | None, msgspec.Meta(description="of statement; now, if not given")] = None


class ItemError(msgspec.Struct):
    """An item, counted from 0, that is no row and will be none by itself."""

    item: int
    reason: str
    error: str


class RequestReply(msgspec.Struct):
    """What became of a request. Stored, dead, waiting and missing items add up to its items."""

    request: Key
    state: Literal["pending", "running", "done", "failed"]
    items: int
    stored: int
    dead: Annotated[dict[str, int], msgspec.Meta(description="items by reason")]
    waiting: Annotated[int, msgspec.Meta(description="for their provider")]
    missing: Annotated[int, msgspec.Meta(description="neither rows nor dead letters yet")]
    accepted_at: datetime
    published_at: datetime | None
    decided_at: datetime | None
    seconds: Annotated[float | None, msgspec.Meta(description="from acceptance to decision")]
    counted_by: Annotated[
        datetime | None, msgspec.Meta(description="the boundary that counted all; null: none has")
    ]
    shown_at: Annotated[datetime | None, msgspec.Meta(description="when KeyDB showed that")]
    errors: list[ItemError] | msgspec.UnsetType = msgspec.UNSET
    location: Annotated[
        str | msgspec.UnsetType, msgspec.Meta(description="where errors are, above 64 KiB")
    ] = msgspec.UNSET


class QuestionAnswer(msgspec.Struct):
    """The answer to a question. Amounts are in minor units, as digits."""

    request: Key
    ask: Literal["balances", "statement", "valuation"]
    tick: datetime | msgspec.UnsetType = msgspec.UNSET
    epoch: int | msgspec.UnsetType = msgspec.UNSET
    balances: list[Any] | msgspec.UnsetType = msgspec.UNSET
    provider_id: int | msgspec.UnsetType = msgspec.UNSET
    opening: Any | msgspec.UnsetType = msgspec.UNSET
    movements: list[Any] | msgspec.UnsetType = msgspec.UNSET
    closing: Any | msgspec.UnsetType = msgspec.UNSET
    day: Annotated[str | msgspec.UnsetType, msgspec.Meta(description="of valuation")] = (
        msgspec.UNSET
    )
    currency: str | msgspec.UnsetType | None = msgspec.UNSET
    providers: list[Any] | msgspec.UnsetType = msgspec.UNSET
    totals: list[Any] | msgspec.UnsetType = msgspec.UNSET
    not_valued: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    location: Annotated[
        str | msgspec.UnsetType, msgspec.Meta(description="where the data are, above 64 KiB")
    ] = msgspec.UNSET


class RequestRefusal(msgspec.Struct):
    """Why nothing was done: another request has the key, or a question cannot be answered."""

    request: Key
    error: Annotated[str, msgspec.Meta(description="idempotency_conflict, unanswerable, …")]
    detail: str
