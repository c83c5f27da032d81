"""A message that cannot be acted upon, and the reason that its dead letter gets."""

from typing import Literal

TransactionReason = Literal[
    "not_utf8", "not_json", "not_object", "missing_field", "wrong_type", "out_of_range",
    "duplicate_key", "too_large", "bad_identity", "unknown_provider", "id_conflict",
    "refused_by_database",
]  # fmt: skip
RecordReason = Literal[
    "not_utf8", "not_json", "not_object", "duplicate_key", "missing_field", "wrong_type",
    "out_of_range", "invalid_value", "too_large", "too_many", "unknown_notification",
    "bad_identity", "duplicate_identity",
]  # fmt: skip
"""Of a change record and of other messages that are no transactions."""

Reason = TransactionReason | RecordReason


class Unfit(Exception):
    """The message cannot be acted upon: it becomes a dead letter with this reason."""

    def __init__(self, reason: Reason, error: str) -> None:
        """`error` says in words what is wrong, without quoting the body."""
        super().__init__(error)
        self.reason: Reason = reason
        self.error = error
