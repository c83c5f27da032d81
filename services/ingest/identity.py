"""The identity of a message, by which it is known when it is delivered again."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared import json_object
from shared.amqp.properties import MalformedProperties, Properties
from shared.json_object import a_kind
from shared.transaction_identity import IDENTITY_BYTES_MAX, check_identity
from shared.unfit import Unfit

AMQP_1_0_ID = "x-message-id"
"""The header in which RabbitMQ hands on a `message-id` of AMQP 1.0 that is no short text."""


@dataclass(frozen=True, slots=True)
class KeptProperties:
    """Properties of a message whose dead letter is there: no other one needs them all."""

    headers: Any
    message_id: Any = None

    def all(self) -> Mapping[str, object]:
        """Return nothing: a dead letter that stays keeps the properties it has."""
        return {}


AnyProperties = Properties | KeptProperties


def identify(
    source: str,
    properties: AnyProperties,
    body: bytes,
    fields: Mapping[str, Any] | None,
    fallback_id: str,
) -> str:
    """Return the identity that `INGEST_MESSAGE_ID` names, or `fallback_id` if there is none.

    `source` is `property`, `header:NAME` or `field:NAME`; `fields` are those of the body, None if
    it was not read field by field. Raises `Unfit` (`bad_identity`), also for a `message-id` of AMQP
    1.0 that RabbitMQ cannot hand on as the property.
    """
    try:
        if source == "property":
            found = properties.message_id
        else:
            found = _find(source, properties, body, fields)
    except MalformedProperties as error:
        raise Unfit("bad_identity", f"the properties are malformed: {error}") from error
    if isinstance(found, str) and _is_plain(found):
        return found
    if found is None or found in ("", b""):
        if source == "property":
            _refuse_amqp_1_0(properties)
        return fallback_id
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found)
    if not isinstance(found, str):
        raise Unfit("bad_identity", f"the identity is {a_kind(found)}, not text in UTF-8")
    check_identity(found)
    return found


def _find(
    source: str, properties: AnyProperties, body: bytes, fields: Mapping[str, Any] | None
) -> object:
    kind, _, name = source.partition(":")
    if kind == "header":
        return (properties.headers or {}).get(name)
    return (json_object.read(body) if fields is None else fields).get(name)


def _refuse_amqp_1_0(properties: AnyProperties) -> None:
    """Raise `Unfit` for an identity that RabbitMQ put into a header: bytes, or text too long.

    A short text there is a header of the producer's own, and no identity.
    """
    with contextlib.suppress(MalformedProperties):
        found = (properties.headers or {}).get(AMQP_1_0_ID)
        if isinstance(found, bytes):
            raise Unfit("bad_identity", "the message-id (of AMQP 1.0) is bytes, not text in UTF-8")
        if isinstance(found, str) and len(found.encode("utf-8", "replace")) > IDENTITY_BYTES_MAX:
            check_identity(found)


def _is_plain(identity: str) -> bool:
    """Say whether a quick look shows a valid identity, as of most: each message is looked at."""
    return identity.isascii() and 0 < len(identity) <= IDENTITY_BYTES_MAX and "\0" not in identity
