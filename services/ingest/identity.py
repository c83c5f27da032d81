"""Who a message is: the identity by which a redelivery is known."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from services.ingest.body import Unfit, a_kind

IDENTITY_BYTES_MAX = 255


class Properties(Protocol):
    """The AMQP properties that decide anything; `properties.py` keeps all of them."""

    message_id: Any
    headers: Any


def identify(
    source: str, properties: Properties, fields: Callable[[], Mapping[str, Any]], spare: str
) -> str:
    """Return the message's identity as `INGEST_MESSAGE_ID` names it, or `spare` if it has none.

    `source` is `property`, `header:NAME` or `field:NAME`. Raises `Unfit` (`bad_identity`).
    """
    kind, _, name = source.partition(":")
    if kind == "header":
        found = (properties.headers or {}).get(name)
    elif kind == "field":
        found = fields().get(name)
    else:
        found = properties.message_id
    if found is None or found in ("", b""):
        return spare
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise Unfit("bad_identity", f"the identity is {a_kind(found)}, not text in UTF-8")
    _check_identity(found)
    return found


def _check_identity(identity: str) -> None:
    try:
        size = len(identity.encode())
    except UnicodeEncodeError as error:
        raise Unfit("bad_identity", "the identity is not UTF-8") from error
    if "\x00" in identity:
        raise Unfit("bad_identity", "the identity holds a NUL character")
    if size > IDENTITY_BYTES_MAX:
        raise Unfit("bad_identity", f"the identity has {size} bytes, above {IDENTITY_BYTES_MAX}")
