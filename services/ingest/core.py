"""What becomes of the messages of a batch. Pure: no clock, socket or randomness."""

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeGuard, TypeVar

from services.ingest.identity import AnyProperties, identify
from shared.transaction_body import Limits, decode
from shared.unfit import Reason, Unfit

T = TypeVar("T")


class Delivery(NamedTuple):
    """A message as it came. `fallback_id` is its identity if it carries none.

    `redelivered`: it may have been stored before, since it came before, or was in a batch of whose
    commit nobody knows.
    """

    tag: int
    redelivered: bool
    properties: AnyProperties
    body: bytes
    fallback_id: str


class Transaction(NamedTuple):
    """A message that may become a row."""

    delivery: Delivery
    identity: str
    provider_id: int
    value: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that does not become a row; `waiting` ones do when their provider appears."""

    delivery: Delivery
    identity: str
    reason: Reason
    error: str
    provider_id: int | None = None
    value: int | None = None

    @property
    def state(self) -> Literal["open", "waiting"]:
        """`waiting` for a provider, or `open`: for a person to look at."""
        return "waiting" if self.reason == "unknown_provider" else "open"


Validated = Transaction | DeadLetter


@dataclass(slots=True)
class PartitionedBatch:
    """A batch before Postgres has seen it. Identities of `transactions` are distinct.

    `conflicting` have the identity of one of them, and other content. Which of the two becomes the
    row only Postgres knows: an earlier batch may have stored either. `repeated` counts copies of
    others, and what was processed before.
    """

    transactions: list[Transaction] = field(default_factory=list)
    conflicting: list[Transaction] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    repeated: int = 0
    size: int = 0

    def redelivered(self, identities: Collection[str]) -> list[Transaction]:
        """Return the transactions of these identities that the broker delivered again."""
        again = [one for one in self.transactions if one.delivery.redelivered]
        return [one for one in again if one.identity in identities]

    def count_as_repeated(self, identities: Collection[str]) -> None:
        """Count transactions of these identities as repeated: they were processed before."""
        rest = [one for one in self.transactions if one.identity not in identities]
        self.repeated += len(self.transactions) - len(rest)
        self.transactions = rest


def validate(delivery: Delivery, limits: Limits, identity_source: str) -> Validated:
    """Say what a message is by itself; done as it arrives, while the database is at work."""
    try:
        provider_id, value, fields = decode(delivery.body, limits)
        identity = identify(
            identity_source, delivery.properties, delivery.body, fields, delivery.fallback_id
        )
    except Unfit as unfit:
        return _unfit(delivery, unfit, identity_source)
    return Transaction(delivery, identity, provider_id, value)


def _unfit(delivery: Delivery, unfit: Unfit, identity_source: str) -> DeadLetter:
    """Return a dead letter under the message's own identity, if it has one.

    By that its redelivery is told from another message.
    """
    identity = delivery.fallback_id
    if unfit.reason != "bad_identity":
        # A body that is too large is not looked into.
        fields: Mapping[str, Any] | None = {} if unfit.reason == "too_large" else None
        with contextlib.suppress(Unfit):
            identity = identify(
                identity_source, delivery.properties, delivery.body, fields, identity
            )
    return DeadLetter(delivery, identity, unfit.reason, unfit.error)


def is_ordinary(batch: Sequence[Validated]) -> TypeGuard[Sequence[Transaction]]:
    """Say whether each is fit, not redelivered, and carries an identity that no other one has.

    Whether each can become a row only Postgres knows.
    """
    named = {
        one.identity
        for one in batch
        if isinstance(one, Transaction)
        and not one.delivery.redelivered
        and one.identity != one.delivery.fallback_id
    }
    # Fewer names: two share an identity, or one is unfit, redelivered or without an identity.
    return len(named) == len(batch)


def partition(batch: Sequence[Validated]) -> PartitionedBatch:
    """Split a batch into transactions and dead letters, and count repetitions within it."""
    result = PartitionedBatch(size=len(batch))
    first: dict[str, Transaction] = {}
    for validated in batch:
        if isinstance(validated, DeadLetter):
            result.dead.append(validated)
            continue
        earlier = first.setdefault(validated.identity, validated)
        if earlier is validated:
            result.transactions.append(validated)
        elif (earlier.provider_id, earlier.value) == (validated.provider_id, validated.value):
            result.repeated += 1
        else:
            result.conflicting.append(validated)
    return result


def conflict(transaction: Transaction) -> DeadLetter:
    """Return the dead letter for an identity that was used before for something else."""
    error = "a transaction with this identity and other content exists"
    return DeadLetter(transaction.delivery, transaction.identity, "id_conflict", error)


def parked(transaction: Transaction, *, beside_another: bool) -> DeadLetter:
    """Return the dead letter that waits for its provider, or beside another of its identity."""
    delivery, identity, provider_id, value = transaction
    error = f"there is no provider {provider_id} yet"
    if beside_another:
        error = "a message with this identity and other content came before it and is no row yet"
    # The reason is the same in both cases: by it `state` is `waiting`.
    return DeadLetter(delivery, identity, "unknown_provider", error, provider_id, value)


def refused(message: Validated, error: str) -> DeadLetter:
    """Return the dead letter for a row that the database would not take."""
    return DeadLetter(message.delivery, message.identity, "refused_by_database", error)


def tried(message: Validated) -> Validated:
    """Return a message of a commit whose fate is not known: it may have been stored."""
    delivery = message.delivery._replace(redelivered=True)
    if isinstance(message, DeadLetter):
        return replace(message, delivery=delivery)
    return message._replace(delivery=delivery)


def bisect(items: Sequence[T], attempt: Callable[[Sequence[T]], str | None]) -> list[tuple[T, str]]:
    """Return the items that fail by themselves, each with its error; all others have succeeded.

    `attempt` takes effect and returns None, or has no effect and returns an error. One item among n
    that fails costs about 2·log2(n) attempts.
    """
    error = attempt(items) if items else None
    if error is None:
        return []
    if len(items) == 1:
        return [(items[0], error)]
    middle = len(items) // 2
    return bisect(items[:middle], attempt) + bisect(items[middle:], attempt)
