"""Everything says one version, and what a release consists of can be made and works."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from shared.version import VERSION
from tests.support.containers import ROOT
from tests.support.helm_chart import library, render
from tools import release

library("hatchling.build")
PACKAGES = ("adoption", "migrations", "ops", "reconciliation", "services", "shared")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the files that say the version."""
    for name in release.SAYING:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_everything_says_the_version_of_the_code() -> None:
    assert release.contradictions() == []


@pytest.mark.parametrize("name", release.SAYING)
def test_a_file_that_says_another_version_is_named(copy: Path, name: str) -> None:
    text = (copy / name).read_text().replace(VERSION, "99.0.0")
    (copy / name).write_text(text)

    assert release.contradictions(copy) == [f"{name} does not say {VERSION}"]


def test_a_tag_of_another_version_and_a_changelog_without_a_date_are_no_release(
    copy: Path,
) -> None:
    heading = f"## [{VERSION}] - "
    text = (copy / "CHANGELOG.md").read_text()
    _, _, rest = text.partition(heading)
    for date, wrong in (
        ("unreleased", [f"CHANGELOG.md has no date for {VERSION}"]),
        ("2026-12-31", []),
    ):
        changed = f"{heading}{date}\n{rest.partition(chr(10))[2]}"
        (copy / "CHANGELOG.md").write_text(changed)
        assert release.contradictions(copy, tag=f"v{VERSION}") == wrong

    (one,) = release.contradictions(copy, tag="v99.0.0")
    assert one == f"the tag v99.0.0 is not v{VERSION}, which shared/version.py says"


def test_nothing_is_made_of_what_contradicts_itself(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        release.command,
        ["--tag", "v99.0.0", "--into", str(tmp_path / "dist")],
        standalone_mode=False,
    )

    assert done.return_value == 1
    assert "v99.0.0" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_the_notes_are_the_changelogs_section_of_this_version() -> None:
    text = release.notes()

    assert text in (ROOT / "CHANGELOG.md").read_text()
    assert text.count("\n## ") == 0
    assert "### Added" in text


def test_the_wheel_has_every_file_of_our_programs_and_runs_elsewhere(tmp_path: Path) -> None:
    wheel = release.wheel(tmp_path)
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", *PACKAGES], capture_output=True, check=True, text=True
    )
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
        packed.extractall(tmp_path / "installed")

    assert wheel.name == f"minutebook-{VERSION}-py3-none-any.whl"
    assert set(listed.stdout.split()) <= names
    for command in (["-m", "ops", "--version"], ["-m", "services.gateway", "--version"]):
        done = subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path / "installed")},
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.stdout.startswith(f"minutebook {VERSION}, "), done.stderr


def test_the_packaged_chart_makes_the_objects_of_the_folder(tmp_path: Path) -> None:
    archive = release.chart(tmp_path)

    assert archive.name == f"minutebook-{VERSION}.tgz"
    with library("helm_python").Chart.load(archive) as packed:
        assert (packed.version, packed.metadata["appVersion"]) == (VERSION, VERSION)
        texts = packed.render({}, name="money", namespace="payments")
    made = {name for name, text in texts.items() if name.endswith(".yaml") and text.strip()}
    assert len(made) >= 3
    assert render().container("ingest")["image"] in texts["minutebook/templates/services.yaml"]
