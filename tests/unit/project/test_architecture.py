"""The calls that docs/architecture.md lists exist, and can be followed in an afternoon."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.call_lists import DOCUMENT, counted
from tests.support.containers import ROOT

NAMED = re.compile(r"`([\w/.]+\.(?:py|lua)):([\w.]+)`")
BOUNDS = {"One message": (40, 11), "One tick": (28, 9)}
"""Calls and files at most: what a stranger can follow in an afternoon."""
FILES_MAX, MONEY_LINES_MAX, PATH_LINES_MAX = 16, 1300, 2500


def functions(file: str) -> set[str]:
    """Return the names of the functions of a file, those of classes as `Class.function`."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if file.endswith(".lua"):
        return set(re.findall(r"^local function (\w+)", text, re.MULTILINE))
    return set(_named(ast.parse(text).body, ""))


def _named(body: list[ast.stmt], above: str) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield f"{above}{node.name}"
            yield from _named(node.body, f"{above}{node.name}.")


@pytest.mark.parametrize(("file", "function"), sorted(set(NAMED.findall(DOCUMENT))))
def test_a_function_that_is_listed_exists(file: str, function: str) -> None:
    assert function in functions(file)


@pytest.mark.parametrize("heading", BOUNDS)
def test_a_list_of_calls_is_short_enough_to_be_followed(heading: str) -> None:
    calls_max, files_max = BOUNDS[heading]
    listed = counted(heading)

    assert 0 < len(listed) <= calls_max
    assert len({file for file, _ in listed}) <= files_max


def core_path() -> list[tuple[str, str]]:
    """Return which files decide about money, and which are the rest of the path."""
    return re.findall(r"^\| (money|path) \| `([\w/.]+)` \| ", DOCUMENT, re.MULTILINE)


def lines(files: list[str]) -> int:
    return sum(len((ROOT / file).read_text(encoding="utf-8").splitlines()) for file in files)


def test_the_core_path_and_what_decides_about_money_stay_short() -> None:
    money = [file for kind, file in core_path() if kind == "money"]
    path = [file for _, file in core_path()]

    assert len(path) <= FILES_MAX
    assert lines(money) <= MONEY_LINES_MAX
    assert lines(path) <= PATH_LINES_MAX
