"""A message that cannot be handled, and the reason that its dead letter gets."""

from typing import Literal

AnyReason = Literal[
    "not_utf8", "not_json", "not_object", "duplicate_key", "missing_field", "wrong_type",
    "out_of_range", "too_large", "bad_identity",
]  # fmt: skip
TransactionReason = Literal[
    AnyReason, "unknown_provider", "wrong_shard", "id_conflict", "refused_by_database"
]
RecordReason = Literal[
    AnyReason, "invalid_value", "too_many", "unknown_notification", "duplicate_identity",
    "price_conflict", "no_answer",
]  # fmt: skip
"""Of a change record and of other messages that are no transactions."""

Reason = TransactionReason | RecordReason


class Unfit(Exception):
    """The message cannot be handled: it becomes a dead letter with this reason."""

    def __init__(self, reason: Reason, error: str) -> None:
        """`error` says what is wrong, without quoting the body."""
        super().__init__(error)
        self.reason: Reason = reason
        self.error = error
