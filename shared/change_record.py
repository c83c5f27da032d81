"""A change record: that something a source knows was added, modified or removed.

    {"operation": "ADDED", "source": "users", "source_id": "A", "version": 3, "alert": {…}}

`source` and `source_id` name the thing. `version` is the source's own count of its changes, and
optional. What the thing is stands under the name of its kind; a MODIFIED has all of it. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from shared import json_object
from shared.json_object import a_kind
from shared.unfit import Unfit

Operation = Literal["ADDED", "MODIFIED", "REMOVED"]
OPERATIONS = get_args(Operation)
Outcome = Literal["applied", "ignored"]
"""What a record led to. *Ignored*: its version is not larger than the one that is known."""
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
NAME_BYTES_MAX = 255
RECORD_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class ChangeRecord:
    """`content` is what is said of the thing; nothing where it was REMOVED."""

    operation: Operation
    source: str
    source_id: str
    version: int | None
    content: Mapping[str, Any]


def decode(body: bytes, kind: str) -> ChangeRecord:
    """Return the record in `body`, whose content stands under the name `kind`. Raises `Unfit`.

    Fields that are not named above are ignored.
    """
    fields = read_object(body)
    operation = one_of(fields, "operation", OPERATIONS)
    removed = operation == "REMOVED"
    return ChangeRecord(
        cast("Operation", operation),
        name(fields, "source"),
        _source_id(fields),
        _version(fields),
        {} if removed else _content(fields, kind),
    )


def read_object(body: bytes) -> Mapping[str, Any]:
    """Return a body's fields. Raises `Unfit`."""
    if len(body) > RECORD_BYTES_MAX:
        raise Unfit("too_large", f"more than {RECORD_BYTES_MAX} bytes")
    return json_object.read(body)


def present(fields: Mapping[str, Any], field: str) -> Any:  # noqa: ANN401 - what JSON has
    """Return a field that must be there. Raises `Unfit`."""
    if field not in fields:
        raise Unfit("missing_field", f"the field {field} is missing")
    return fields[field]


def name(fields: Mapping[str, Any], field: str) -> str:
    """Return a text of 1 to 255 bytes that Postgres can hold. Raises `Unfit`."""
    found = present(fields, field)
    if not isinstance(found, str):
        raise Unfit("wrong_type", f"{field} is {a_kind(found)}, not text")
    try:
        size = len(found.encode())
    except UnicodeEncodeError as error:
        raise Unfit("invalid_value", f"{field} is not UTF-8") from error
    if "\0" in found:
        raise Unfit("invalid_value", f"{field} holds a NUL character")
    if not 1 <= size <= NAME_BYTES_MAX:
        raise Unfit("out_of_range", f"{field} has {size} bytes: it must have 1 to 255")
    return found


def integer(found: object, field: str, least: int = INT64_MIN, most: int = INT64_MAX) -> int:
    """Return an integer within these bounds. Raises `Unfit`."""
    if isinstance(found, bool) or not isinstance(found, int):
        raise Unfit("wrong_type", f"{field} is {a_kind(found)}, not an integer")
    if not least <= found <= most:
        raise Unfit("out_of_range", f"{field} must be from {least} to {most}")
    return found


def one_of(fields: Mapping[str, Any], field: str, known: tuple[str, ...]) -> str:
    """Return one of the values that are known. Raises `Unfit`."""
    found = present(fields, field)
    if not isinstance(found, str):
        raise Unfit("wrong_type", f"{field} is {a_kind(found)}, not text")
    if found not in known:
        raise Unfit("invalid_value", f"{field} is none of {', '.join(known)}")
    return found


def _source_id(fields: Mapping[str, Any]) -> str:
    """Return it as text: many sources number what they know."""
    found = present(fields, "source_id")
    if isinstance(found, int) and not isinstance(found, bool):
        return str(integer(found, "source_id"))
    return name(fields, "source_id")


def _version(fields: Mapping[str, Any]) -> int | None:
    found = fields.get("version")
    return None if found is None else integer(found, "version")


def _content(fields: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = present(fields, kind)
    if not isinstance(found, dict):
        raise Unfit("wrong_type", f"{kind} is {a_kind(found)}, not an object")
    return found
