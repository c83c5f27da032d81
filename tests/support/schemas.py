"""JSON documents held against the schemas that are shipped, in which no key is unknown."""

import functools
from collections.abc import Sequence
from typing import Any

from jsonschema import Draft202012Validator

from tools import schemas
from tools.json_types import DOCUMENTS

FAILED = "ops-failed.json"


def check(arguments: Sequence[str], document: Any) -> None:
    """Fail unless `document` is what `ops` with these arguments is said to print."""
    if arguments[0] == "--shard":
        arguments = arguments[2:]
    named = (" ".join(arguments[:words]) for words in (2, 1))
    command = next((one for one in named if one in DOCUMENTS), None)
    assert command is not None, f"tools/json_types/ has no type for ops {' '.join(arguments)}"
    failed = isinstance(document, dict) and set(document) == {"error"}
    assert_fits(document, FAILED if failed else f"ops-{command.replace(' ', '-')}.json")


def assert_fits(document: Any, name: str) -> None:
    """Fail unless `document` fits the schema of docs/schemas/`name` and has no other keys."""
    found = [f"{one.json_path}: {one.message}" for one in _validator(name).iter_errors(document)]
    assert not found, f"not what docs/schemas/{name} says: {found[:5]}"


@functools.cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        schemas.strict(schemas.all_schemas()[name]),
        format_checker=Draft202012Validator.FORMAT_CHECKER,
    )
