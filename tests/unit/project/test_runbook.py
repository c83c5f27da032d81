"""The runbook is whole: each alert and failure has a section. No document shows a wrong command."""

import itertools
import re
import shlex
from pathlib import Path

import click
import pytest

from ops.__main__ import COMMANDS, main
from tests.support.containers import ROOT

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
FAILURES = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
DOCUMENTS = "\n".join(
    path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)
EVENTS = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
ALERTS = ROOT / "deploy" / "observe" / "alerts.yml"

README_BYTES_MAX = 10 * 2**10
TOOL = r"(?:docker compose run --rm (?:-T )?ops|python -m ops|ops) "
FENCES = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TYPED = re.compile(rf"^\$ (?:.*\| )?{TOOL}(.*)$", re.MULTILINE)
INLINE = re.compile(rf"`{TOOL}([^`]+)`")
LINK = re.compile(r"\]\(#([^)]+)\)")


def anchor(heading: str) -> str:
    """Return what a heading is reached by: lower case, dashes for spaces, no punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def headings() -> list[str]:
    prose = re.sub(r"^```.*?^```$", "", RUNBOOK, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#{2,4} (.+)$", prose, re.MULTILINE)


def sections() -> dict[str, str]:
    """Return the text of each section by its anchor."""
    parts = re.split(r"^#{2,4} (.+)$", RUNBOOK, flags=re.MULTILINE)
    return {anchor(name): text for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def failures() -> list[str]:
    """Return the first cell of each row of the tables of failures."""
    tables = re.findall(r"^\| what breaks \|.*\n\|[-|]+\n((?:\|.*\n)+)", FAILURES, re.MULTILINE)
    return [row.split(" | ")[0].removeprefix("| ") for row in "".join(tables).splitlines()]


def alerts() -> list[str]:
    if not ALERTS.exists():
        return []
    return re.findall(r"^\s*- alert: (\w+)$", ALERTS.read_text(encoding="utf-8"), re.MULTILINE)


def commands() -> list[str]:
    """Return the arguments of every command line of the tool that a document shows."""
    typed = [line for fence in FENCES.findall(DOCUMENTS) for line in TYPED.findall(fence)]
    lines = {re.split(r" +[#<>|;&]", line)[0] for line in typed + INLINE.findall(DOCUMENTS)}
    return sorted(line for line in lines if "…" not in line)


def resolve(arguments: list[str]) -> None:
    """Parse a command line as the tool does, without running it. Raises `click.UsageError`."""
    command: click.Command = main
    parent = None
    while isinstance(command, click.Group):
        parent = click.Context(command, parent=parent, **command.context_settings)
        _, found, arguments = command.resolve_command(parent, arguments)
        assert found is not None
        command = found
    with command.make_context(command.name, list(arguments), parent=parent):
        pass


def test_every_alert_has_a_section_of_its_name() -> None:
    assert [name for name in alerts() if anchor(name) not in sections()] == []


def test_every_row_of_the_tables_of_failures_leads_to_a_section_of_its_own() -> None:
    led_to = [re.findall(r"\(runbook\.md#([^)]+)\)", row) for row in failures()]
    below = RUNBOOK.partition("\n## Failures\n")[2].partition("\n## ")[0]
    described = {anchor(name) for name in re.findall(r"^### (.+)$", below, re.MULTILINE)}

    assert len(failures()) > 20
    assert sorted(place for places in led_to for place in places) == sorted(described)


def test_every_section_is_reached_from_the_contents_and_no_link_leads_nowhere() -> None:
    contents = RUNBOOK.split("\n## ")[1]
    listed = set(LINK.findall(contents))

    assert [one for one in LINK.findall(RUNBOOK) if one not in sections()] == []
    assert [one for one in headings() if anchor(one) not in listed][1:] == []
    assert len(headings()) == len(sections())


def test_every_section_says_something_to_do() -> None:
    leaves = {name: text for name, text in sections().items() if text.strip()}

    assert [name for name, text in leaves.items() if "`" not in text] == []


@pytest.mark.parametrize("line", commands())
def test_every_command_line_of_the_tool_is_one(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(line)
    if arguments[0] == "--shard":
        arguments = arguments[2:]
    for option, value in itertools.pairwise(arguments):
        if option in ("--file", "import") and value != "-":
            (tmp_path / value).touch()

    if len(arguments) == 1:
        assert line == "--help" or arguments[0] in COMMANDS  # named, perhaps without what it takes
    elif "--help" not in arguments:
        resolve(arguments)


def test_every_log_event_and_metric_that_is_named_exists() -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("services", "shared", "reconciliation")
        for path in (ROOT / folder).rglob("*.py")
    )
    metrics = set(re.findall(r"\bminutebook_[a-z_]+_(?:total|seconds|rows|providers)\b", RUNBOOK))
    events = set(re.findall(r'"event": "([a-z_]+)"', RUNBOOK))
    events |= set(re.findall(r"log `([a-z_]+)`", RUNBOOK))

    assert metrics
    assert [one for one in sorted(metrics) if f'"{one}"' not in code] == []
    assert [one for one in sorted(events) if f"| `{one}` |" not in EVENTS] == []


def test_every_make_target_that_a_document_names_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^\$ |`)make ([a-z]+)", DOCUMENTS, re.MULTILINE))

    assert len(named) > 10
    assert [
        one for one in sorted(named) if not re.search(rf"^{one}\b.*:", makefile, re.MULTILINE)
    ] == []


def test_readme_can_be_read_at_once() -> None:
    assert len((ROOT / "README.md").read_bytes()) <= README_BYTES_MAX
