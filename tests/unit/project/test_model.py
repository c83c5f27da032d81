"""The model, the list of its searches and what is written about them say the same."""

import re

import pytest

from model.checks import INTACT, MUTANTS, PROPERTIES, Check
from model.spin import MODELS
from tests.support.containers import ROOT

README = (MODELS / "README.md").read_text(encoding="utf-8")
NAMED_BY_THE_PROMISE = {
    "lock_before_snapshot",
    "compare_and_set",
    "token",
    "ack_after_commit",
    "memory_checked",
    "memory_forgotten",
    "values_at_epoch",
    "move_after_confirm",
    "follower_token",
    "position_with_work",
}


def source(part: str) -> str:
    return (MODELS / f"{part}.pml").read_text(encoding="utf-8")


def rows(heading: str) -> dict[str, str]:
    """Return the rest of each row of the table whose first column has this heading."""
    pattern = rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)"
    (table,) = re.findall(pattern, README, re.MULTILINE)
    return {row.split("`")[1]: row.split("|", 2)[2] for row in table.splitlines()}


def test_every_guard_that_a_model_can_do_without_is_a_mutant_that_is_searched() -> None:
    known = {(check.part, f"MUTANT_{check.name.upper()}") for check in MUTANTS}
    found = {
        (part, name) for part in PROPERTIES for name in re.findall(r"MUTANT_\w+", source(part))
    }
    assert found == known


def test_each_named_guard_has_its_mutant() -> None:
    assert {check.name for check in MUTANTS} >= NAMED_BY_THE_PROMISE


@pytest.mark.parametrize("part", PROPERTIES)
def test_a_model_asserts_each_of_its_properties_and_no_other(part: str) -> None:
    asserted = re.findall(r"assert\((\w+)\)", source(part))
    assert set(asserted) == {
        name for key, names in PROPERTIES.items() if key == part for name in names
    }


@pytest.mark.parametrize("check", MUTANTS, ids=lambda check: check.name)
def test_a_mutant_breaks_a_property_of_its_model_and_is_searched_within_bounds_of_it(
    check: Check,
) -> None:
    assert check.breaks in PROPERTIES[check.part]
    assert check.part in {one.part for one in INTACT}


@pytest.mark.parametrize("check", [*INTACT, *MUTANTS], ids=lambda check: check.name)
def test_a_model_knows_each_bound_that_it_is_given(check: Check) -> None:
    for name in check.bounds:
        assert re.search(rf"\b{name}\b", source(check.part)), name


def test_the_readme_states_the_bounds_of_each_search() -> None:
    assert rows("search").keys() == {check.name for check in INTACT}


def test_the_readme_says_of_each_mutant_what_it_breaks() -> None:
    said = {name: row.split("`")[1] for name, row in rows("mutant").items()}
    assert said == {check.name: check.breaks for check in MUTANTS}


def test_the_document_about_proof_counts_them() -> None:
    text = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
    assert f"{len(MUTANTS)} mutants" in " ".join(text.split())
