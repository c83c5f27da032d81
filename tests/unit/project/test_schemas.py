"""docs/schemas/ is what the types say, and what the code takes and prints is what is said there."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import click
import jsonschema
import msgspec
import pytest

from ops.__main__ import main
from shared import tick
from shared.transaction_body import INT64_MAX, Limits, decode
from shared.unfit import Unfit
from tests.support.containers import ROOT
from tests.support.schemas import assert_fits
from tools import schemas
from tools.json_types import DOCUMENTS

WRITE = "not what the types say: run `make schemas`"
ADD = "give it a type in tools/json_types/, run `make schemas`"
LIMITS = Limits(body_bytes_max=1000)
BODIES = [
    b'{"id": 1, "value": 600}',
    b'{"id": 1, "value": -600, "order": {"number": "A-1001"}}',
    b'{"id": 1, "value": 600, "order": "A-1001"}',
    f'{{"id": {INT64_MAX}, "value": 0}}'.encode(),
    f'{{"id": {INT64_MAX + 1}, "value": 0}}'.encode(),
    b'{"id": 1, "value": 600.5}',
    b'{"id": 1, "value": "600"}',
    b'{"id": true, "value": 600}',
    b'{"id": null, "value": 600}',
    b'{"id": 1}',
    b'{"value": 600}',
    b"[1, 600]",
    b"600",
]
SAID = re.compile(r"""b?'(\{"id".*?\})'|`(\{"id".*?\})`""")


def commands(of: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield every command that does something, as it is typed."""
    if not isinstance(of, click.Group):
        yield " ".join(path)
        return
    context = click.Context(of)
    for name in of.list_commands(context):
        below = of.get_command(context, name)
        assert below is not None
        yield from commands(below, (*path, name))


def fits(body: bytes) -> bool:
    validator = jsonschema.Draft7Validator(schemas.all_schemas()["transaction.json"])
    return bool(validator.is_valid(msgspec.json.decode(body)))


def is_taken(body: bytes) -> bool:
    try:
        decode(body, LIMITS)
    except Unfit:
        return False
    return True


def test_the_schemas_are_those_of_the_types() -> None:
    found = {path.name: path.read_text(encoding="utf-8") for path in schemas.FOLDER.iterdir()}

    assert found == {name: schemas.as_text(one) for name, one in schemas.all_schemas().items()}, (
        WRITE
    )


def test_every_command_has_a_schema_of_what_it_prints() -> None:
    assert set(DOCUMENTS) == set(commands(main)) - {"console"}, ADD  # which serves a page


@pytest.mark.parametrize("name", schemas.all_schemas())
def test_a_schema_is_one(name: str) -> None:
    schema = schemas.all_schemas()[name]

    jsonschema.validators.validator_for(schema).check_schema(schema)
    assert "description" in schema or "anyOf" in schema


@pytest.mark.parametrize("body", BODIES)
def test_a_body_fits_the_schema_exactly_if_ingest_takes_it(body: bytes) -> None:
    assert fits(body) == is_taken(body)


def test_what_the_ticker_sends_fits_the_schema() -> None:
    sent = tick.encode(tick.Tick(datetime(2026, 11, 20, 23, 42, tzinfo=UTC), 60, "a ticker"))

    assert_fits(msgspec.json.decode(sent), "tick.json")


@pytest.mark.parametrize("document", ["README.md", "docs/reading.md"])
def test_every_transaction_that_a_document_shows_fits_the_schema(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    bodies = [(one or other).encode() for one, other in SAID.findall(text)]

    assert bodies
    assert [one for one in bodies if not (fits(one) and is_taken(one))] == []
