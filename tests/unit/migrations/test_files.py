"""The files are numbered without gaps, and the release agrees with them about its schema."""

from pathlib import Path

import pytest

from migrations import runner
from shared import postgres
from shared.errors import Refusal


def written(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_text(f"SELECT '{name}';\n")
    return folder


def test_the_newest_file_is_the_schema_that_services_need() -> None:
    assert runner.read()[-1].version == postgres.SCHEMA_NEEDED


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    found = runner.read(written(tmp_path, "0002_b.sql", "0001_a.sql", "README.md", "0003_c.sql"))
    assert [(one.version, one.name) for one in found] == [(1, "a"), (2, "b"), (3, "c")]


@pytest.mark.parametrize(
    "names",
    [["0002_b.sql"], ["0001_a.sql", "0003_c.sql"], ["0001_a.sql", "0001_b.sql"]],
    ids=["does not begin at 1", "gap", "twice"],
)
def test_numbers_with_gaps_or_repetitions_are_refused(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(Refusal, match="gaps"):
        runner.read(written(tmp_path, *names))


def test_a_checksum_changes_with_every_byte(tmp_path: Path) -> None:
    before = runner.read(written(tmp_path, "0001_a.sql"))
    (tmp_path / "0001_a.sql").write_text("SELECT '0001_a.sql' ;\n")
    assert runner.read(tmp_path)[0].checksum != before[0].checksum


def test_every_file_says_why_in_its_first_line() -> None:
    assert all(one.sql.startswith("-- ") for one in runner.read())
