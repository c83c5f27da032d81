"""What the console serves of other people's work: listed, unchanged, with its licence, shipped."""

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.containers import ROOT

FOLDER = ROOT / "ops" / "console" / "static" / "vendor"
LIST = FOLDER / "vendored.json"
PACKAGES = json.loads(LIST.read_text())["packages"]
NAMES = [one["name"] for one in PACKAGES]
FILES = {name: file for one in PACKAGES for name, file in one["files"].items()}
LICENCES = {"0BSD", "BSD-3-Clause", "MIT", "Apache-2.0", "ISC"}


def test_every_file_is_listed_and_every_listed_one_is_there() -> None:
    there = {one.name for one in FOLDER.iterdir()} - {LIST.name}

    assert there == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_what_its_package_has(name: str) -> None:
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == FILES[name]["sha256"]


@pytest.mark.parametrize("package", PACKAGES, ids=NAMES)
def test_a_package_has_its_version_and_a_licence_that_lets_us_ship_it(
    package: dict[str, Any],
) -> None:
    assert {"name", "version", "licence", "homepage", "files"} == set(package)
    assert package["licence"] in LICENCES
    (text,) = [name for name in package["files"] if name.endswith(".LICENSE")]
    assert "THE SOFTWARE IS PROVIDED" in (FOLDER / text).read_text()


def test_images_and_wheels_have_all_of_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert set(wheel) == {"packages"}  # nothing of them is left out
    assert "ops" in wheel["packages"]
    assert "COPY ops " in (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "!ops" in ignored
    assert not [one for one in ignored if Path(one).suffix in {".js", ".css", ".svg", ".html"}]
