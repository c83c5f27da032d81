"""The message that each transaction becomes, or why it is not sent. Pure."""

from ops.sending.producer import Outgoing
from ops.sending.rows import Draft, Invalid
from services.ingest.body import Limits, Unfit, decode, read_object
from services.ingest.identity import check_identity

BODY_BYTES_MAX = 2**24
"""The most that ingest can be set to take. Above its own limit a broker closes the connection."""


def message(
    draft: Draft, batch: str, limits: Limits, *, checked: bool = True, field: str = ""
) -> Outgoing | Invalid:
    """Return what to send: without an identity of its own a line is known by batch and place.

    Unless not `checked`, what ingest would make a dead letter of is `Invalid`. Where ingest finds
    the identity in a `field` of the body, the body must have it, or a second copy would count.
    """
    identity = draft.message_id or f"{batch}:{draft.line}"
    if not checked:  # by ingest's limit; still, no broker takes any size
        limits = Limits(BODY_BYTES_MAX)
    try:
        if field:
            identity = _in_body(draft.body, field)
        check_identity(identity)
        decode(draft.body, limits)
    except Unfit as unfit:
        if checked or unfit.reason in ("bad_identity", "too_large"):
            return Invalid(draft.line, f"{unfit.reason}: {unfit.error}")
    return Outgoing(draft.body, identity)


def _in_body(body: bytes, field: str) -> str:
    found = read_object(body).get(field)
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)  # as ingest does
    if not isinstance(found, str) or not found:
        raise Unfit("bad_identity", f"no text in {field}, where INGEST_MESSAGE_ID has identities")
    return found


def delay_s(sent: int, elapsed_s: float, rate_per_s: float | None) -> float:
    """Return how long to wait before the next message so that `rate_per_s` is kept."""
    return 0.0 if rate_per_s is None else max(0.0, sent / rate_per_s - elapsed_s)
