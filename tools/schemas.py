"""`python -m tools.schemas` (`make schemas`): writes docs/schemas/, the JSON Schemas of all we say.

The messages (docs/asyncapi.yaml refers to them), and what each command of `ops` prints with --json.
Whoever reads them should ignore keys that are not known: a later version may add some.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, get_args

import msgspec
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from services.feed import core as feed
from shared import program
from shared.tick import Tick
from tools import messages
from tools.json_types import DOCUMENTS, EXPORTED_DEAD_LETTER, FAILED

FOLDER = Path(__file__).parents[1] / "docs" / "schemas"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
DIALECT_OF_MESSAGES = "http://json-schema.org/draft-07/schema#"
"""What AsyncAPI reads."""


class Shown(msgspec.Struct):
    """What KeyDB's channel minutebook:ticks says of each tick that is shown."""

    tick: Annotated[datetime, msgspec.Meta(tz=True)]
    epoch: Annotated[int, msgspec.Meta(description="grows with each tick")]
    changed: Annotated[int, msgspec.Meta(ge=0, description="keys that were set or removed")]
    shard: (
        Annotated[int, msgspec.Meta(ge=0, description="whose tick: with SHARD only")]
        | msgspec.UnsetType
    ) = msgspec.UNSET


MESSAGES: Mapping[str, type[msgspec.Struct]] = {
    "transaction": messages.Transaction,
    "tick": Tick,
    "shown": Shown,
    "change": feed.Change,
    "balance-change": feed.Balance,
    "tick-closed": feed.Closed,
    "alert-record": messages.AlertRecord,
    "price-record": messages.PriceRecord,
    "notification": messages.Notification,
    "notification-delivered": messages.Answer,
    "sighting": messages.Sighting,
    "request": messages.Request,
    "question": messages.Question,
    "request-reply": messages.RequestReply,
    "question-answer": messages.QuestionAnswer,
    "request-refusal": messages.RequestRefusal,
}
"""The schema of each message's body, by the name of its file."""


class AsPrinted(GenerateJsonSchema):
    """What is printed has every field of a dataclass, also those that have a default."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: ANN401, FBT001 - theirs
        """Say whether it is always there."""
        if field["type"] == "typed-dict-field":
            return super().field_is_required(field, total)
        return True


def all_schemas() -> Mapping[str, dict[str, Any]]:
    """Return each schema by the name of its file."""
    return {f"{name}.json": schema for name, schema in _named()}


def of_command(command: str) -> dict[str, Any]:
    """Return the schema of what `ops COMMAND --json` prints. Raises `KeyError`."""
    return _of_type(DOCUMENTS[command], f"ops {command} --json")


def strict(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """Return a schema that takes no key it does not name: for tests of what we print."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inside = {name: strict(one) for name, one in schema.items()}
    return {"additionalProperties": False, **inside} if "properties" in inside else inside


ABOUT = "Writes docs/schemas/, the JSON Schemas of messages and of what ops prints with --json."


@program.command(ABOUT)
def command() -> int:
    """Write all files, and remove those of commands that are gone; return the exit code."""
    FOLDER.mkdir(exist_ok=True)
    schemas = all_schemas()
    for path in FOLDER.glob("*.json"):
        if path.name not in schemas:
            path.unlink()
    for name, schema in schemas.items():
        (FOLDER / name).write_text(as_text(schema), encoding="utf-8")
    return 0


def as_text(schema: Mapping[str, Any]) -> str:
    """Return a schema as its file has it."""
    return json.dumps(schema, indent=2) + "\n"


def _named() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, struct in MESSAGES.items():
        yield name, _of_struct(struct, name)
    yield "dead-letter", _of_type(EXPORTED_DEAD_LETTER, "a line of ops dead-letters export")
    yield "ops-failed", _of_type(FAILED, "ops … --json, where it could not do its work")
    for command in DOCUMENTS:
        yield f"ops-{command.replace(' ', '-')}", of_command(command)


def _of_struct(struct: type[msgspec.Struct], title: str) -> dict[str, Any]:
    _, definitions = msgspec.json.schema_components([struct], ref_template="#/definitions/{name}")
    schema = definitions.pop(struct.__name__)
    schema["description"] = " ".join(schema["description"].split())
    may_lack = {
        one.encode_name
        for one in msgspec.structs.fields(struct)
        if msgspec.UnsetType in get_args(one.type)
    }
    schema["required"] = [one for one in schema["required"] if one not in may_lack]
    within = {"definitions": definitions} if definitions else {}
    return {"$schema": DIALECT_OF_MESSAGES, **schema, **within, "title": title}


def _of_type(given: Any, title: str) -> dict[str, Any]:  # noqa: ANN401 - a type form
    schema = TypeAdapter(given).json_schema(mode="serialization", schema_generator=AsPrinted)
    return {"$schema": DIALECT, **_plain(schema), "title": title}


def _plain(schema: Any) -> Any:  # noqa: ANN401 - any part of a schema
    """Return it without titles made of names and without defaults; descriptions as one line."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {name: _plain(one) for name, one in schema.items() if not _is_noise(name, one)}
    if isinstance(said := kept.get("description"), str):
        kept["description"] = " ".join(said.split())
    return kept


def _is_noise(name: str, given: object) -> bool:
    return name == "default" or (name == "title" and isinstance(given, str))


if __name__ == "__main__":
    sys.exit(program.execute(command, "tools.schemas"))
