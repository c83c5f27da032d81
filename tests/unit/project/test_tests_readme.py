"""The map of the tests leads to files that exist, and says of each promise where it is tested."""

import re

from tests.support.containers import ROOT

TEXT = (ROOT / "tests" / "README.md").read_text(encoding="utf-8")
PROMISES = set(re.findall(r"^\| (G\d) \| ", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE))


def test_every_file_that_the_map_names_exists() -> None:
    named = set(re.findall(r"`((?:\w+/)+\w+\.py)`", TEXT))

    assert named
    assert not [name for name in named if not (ROOT / "tests" / name).exists()]


def test_the_map_has_every_promise() -> None:
    assert set(re.findall(r"^\| (G\d)", TEXT, re.MULTILINE)) == PROMISES
