"""What a request is refused with: problem documents (RFC 9457), each with a reason of its own."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:minutebook:problem:"
"""With the reason behind it: what the `type` of a problem is."""
Reason = Literal[
    # of what is sent
    "bad_request", "bad_key", "bad_reply_to", "bad_correlation_id", "bad_header", "not_json",
    "not_utf8", "not_csv", "no_items", "unfit_items", "idempotency_conflict", "invalid_parameter",
    "unfit", "wrong_shard", "unsupported_media_type", "unsupported_encoding", "incomplete",
    # of who sends it
    "unauthorized", "forbidden",
    # limits
    "too_large", "too_many_items", "head_too_large", "timeout", "too_many_requests",
    "too_many_streams", "too_many_connections",
    # of what is asked for
    "not_found", "method_not_allowed", "not_known_yet", "not_kept", "yet_to_come", "too_long",
    # of servers
    "broker_unavailable", "queue_full", "unroutable", "postgres_unavailable", "internal_error",
]  # fmt: skip
"""Why a request is refused: what a program decides by. docs/api.md says what each means."""
BY_STATUS: Mapping[int, Reason] = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    500: "internal_error",
}
"""The reasons of what the framework refuses by itself."""


class Problem(Exception):
    """The request is refused; raised wherever that is found, answered in one place."""

    def __init__(
        self,
        status: int,
        reason: Reason,
        detail: str,
        *,
        retry_after_s: int | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,  # noqa: ANN401 - further members of the document
    ) -> None:
        """`detail` is for the caller to read: it quotes no body and names no server's address."""
        super().__init__(detail)
        self.status = status
        self.reason = reason
        self.detail = detail
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(retry_after_s)
        self.more = more

    def body(self) -> bytes:
        """Return the document."""
        document = {
            "type": TYPE + self.reason,
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "reason": self.reason,
            "detail": self.detail,
            **self.more,
        }
        return json.dumps(document).encode()


def of_status(status: int, headers: Mapping[str, str] | None = None) -> Problem:
    """Return the problem for what the framework refuses."""
    reason = BY_STATUS.get(status, "bad_request")
    return Problem(status, reason, HTTPStatus(status).description or reason, headers=headers)
