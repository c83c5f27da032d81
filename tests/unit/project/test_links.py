"""Every link between our documents leads to a file that is there, and to a heading of it."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.containers import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)


def documents() -> list[str]:
    """Return the Markdown files of the checkout, by their paths from its root."""
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        check=True,
        capture_output=True,
        text=True,
    )
    return listed.stdout.split()


def anchors(path: Path) -> set[str]:
    """Return what GitHub makes of each heading: lower case, dashes for spaces, no punctuation."""
    prose = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {anchor(heading) for heading in HEADING.findall(prose)}


def anchor(heading: str) -> str:
    """Return what a heading is reached by; of a link in it only the text counts."""
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def broken(document: str) -> list[str]:
    """Return the links of a document that lead nowhere. Those to other sites are not looked at."""
    path = ROOT / document
    found = []
    for link in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, place = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        missing = not target.exists()
        if missing or (place and target.suffix == ".md" and place not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("document", documents())
def test_every_link_between_documents_leads_somewhere(document: str) -> None:
    assert broken(document) == []


def test_a_heading_is_reached_by_its_words() -> None:
    assert anchor("Postgres's `clock` (wrong)") == "postgress-clock-wrong"
    assert anchor("[Scale](x.md) it") == "scale-it"
