"""Every event that a program of ours logs is in the table of docs/events.md, and the other way."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.containers import ROOT

PROGRAMS = ("services", "shared", "adoption", "migrations", "ops", "reconciliation")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
TABLE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z0-9_]+)` \| ([a-z, ]+) \| (.+) \| (.+) \|$", re.MULTILINE)


def calls() -> Iterator[tuple[Path, ast.Call, str]]:
    """Yield each call on `log`, also of a level chosen on the spot, with its level."""
    for program in PROGRAMS:
        for path in (ROOT / program).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    for level in levels(node.func):
                        yield path, node, level


def levels(function: ast.expr) -> Iterator[str]:
    match function:
        case ast.Attribute(value=ast.Name(id="log"), attr=level) if level in LEVELS:
            yield level
        case ast.IfExp(body=one, orelse=other):
            yield from levels(one)
            yield from levels(other)


def in_code() -> dict[str, set[str]]:
    """Return the levels at which each event is logged."""
    events: dict[str, set[str]] = {}
    for _path, call, level in calls():
        match call.args:
            case [ast.Constant(value=str(name))]:
                events.setdefault(name, set()).add("error" if level == "exception" else level)
    return events


def test_every_event_has_a_fixed_name_and_its_facts_in_fields() -> None:
    odd = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path, call, _level in calls()
        if not (
            len(call.args) == 1
            and isinstance(call.args[0], ast.Constant)
            and re.fullmatch(r"[a-z0-9_]+", str(call.args[0].value))
        )
    ]

    assert odd == []


def test_every_event_in_code_is_in_the_table_and_no_other_is() -> None:
    named = [name for name, *_ in ROW.findall(TABLE)]

    assert set(named) == set(in_code())
    assert len(named) == len(set(named))


def test_the_levels_in_the_table_are_those_in_code() -> None:
    written = {name: set(said.split(", ")) for name, said, *_ in ROW.findall(TABLE)}

    assert written == in_code()


def test_every_event_comes_with_a_meaning_and_what_to_do() -> None:
    assert all(means.strip() and do.strip() for _, _, means, do in ROW.findall(TABLE))
