"""What `POST /callback` says: ids of objects that somebody has seen. Pure."""

from collections.abc import Sequence

import msgspec

from services.gateway.problems import Problem
from shared import json_object
from shared.transaction_body import INT64_MAX, INT64_MIN
from shared.unfit import Unfit


def read(body: bytes, ids_max: int) -> Sequence[int]:
    """Return the ids of `{"object_ids": [1, 2]}`. Raises `Problem`."""
    try:
        found = json_object.read(body).get("object_ids")
    except Unfit as unfit:
        raise Problem(400, "not_json", unfit.error) from unfit
    if not isinstance(found, list):
        raise Problem(422, "unfit", "object_ids must be an array of integers")
    if not found:
        raise Problem(422, "no_items", "object_ids is empty")
    if len(found) > ids_max:
        raise Problem(413, "too_many_items", f"more than {ids_max} ids (GATEWAY_ITEMS_MAX)")
    if not all(_is_id(one) for one in found):
        raise Problem(422, "unfit", "object_ids must be an array of integers")
    return found


def encode(object_id: int) -> bytes:
    """Return the message about one of them."""
    return msgspec.json.encode({"object_id": object_id})


def _is_id(found: object) -> bool:
    return (
        isinstance(found, int) and not isinstance(found, bool) and INT64_MIN <= found <= INT64_MAX
    )
