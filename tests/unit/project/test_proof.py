"""The table of guards names files and tests that exist, some for each promise."""

import re

import pytest

from tests.support.containers import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROOF = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(\w+/test_\w+\.py)::(test_\w+)`", PROOF)))
PROMISES = sorted(set(re.findall(r"^\| (G\d) \| ", README, re.MULTILINE)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_test_that_is_named_exists(file: str, test: str) -> None:
    assert f"\ndef {test}(" in (ROOT / "tests" / "integration" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("promise", PROMISES)
def test_each_promise_has_guards_of_which_each_has_a_test(promise: str) -> None:
    table = PROOF.partition("| promise | guard, taken out | goes red |")[2].partition("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert all("::test_" in red for _, _, red in rows)
    assert any(name.startswith(f"| {promise}") for name, _, _ in rows)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\(`(\w+/[\w/.]+)`", PROOF))))
def test_a_file_that_holds_a_guard_exists(path: str) -> None:
    assert any(
        place.exists() or list(place.parent.glob(f"{place.name}_*"))
        for place in (ROOT / path, ROOT / "services" / path)
    )
