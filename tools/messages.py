"""Messages as JSON Schemas describe them, where the code has no type that says as much."""

from datetime import datetime
from typing import Annotated

import msgspec

from shared.alert import THRESHOLD_DIGITS_MAX, Condition
from shared.change_record import NAME_BYTES_MAX, Operation
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


class AlertRecord(msgspec.Struct):
    """A change record: that an alert was added, modified or removed where it comes from."""

    operation: Annotated[Operation, msgspec.Meta(description="a MODIFIED has all of the alert")]
    source: Annotated[Name, msgspec.Meta(description="who knows of it")]
    source_id: Annotated[Name | Int64, msgspec.Meta(description="its name there")]
    version: Annotated[
        Int64 | None,
        msgspec.Meta(description="grows with each change; not larger than a known one: ignored"),
    ] = None
    alert: Annotated[
        Alert | None, msgspec.Meta(description="not looked at where it was REMOVED")
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
