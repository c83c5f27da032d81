"""`python -m tools.release` (`make dist`): checks that all say one version, then packages it.

The version is that of shared/version.py. Chart.yaml, docs/openapi.json and pyproject.toml take it
from there; docs/asyncapi.yaml and CHANGELOG.md say it themselves and are held to it.
"""

import contextlib
import importlib
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from shared import program
from shared.version import VERSION

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "minutebook"
INSTALLED = Path(sys.prefix) / "chart"
"""Where make has what requirements-chart.lock names."""
THIS = re.escape(VERSION)
SAYING = {
    "deploy/helm/minutebook/Chart.yaml": rf'(?m)^version: {THIS}\nappVersion: "{THIS}"$',
    "docs/openapi.json": rf'"version": "{THIS}"',
    "docs/asyncapi.yaml": rf"(?m)^  version: {THIS}$",
    "CHANGELOG.md": rf"(?m)^## \[{THIS}\] - ",
}
"""Who else says the version, and how."""
SECTION = re.compile(rf"(?ms)^## \[{THIS}\] - (\S+)\n(.*?)(?=^## |\Z)")
EXIT_WRONG = 1
ABOUT = "Checks that everything says one version, and makes the wheel, the chart and release notes."


def contradictions(root: Path = ROOT, tag: str = "") -> list[str]:
    """Return what does not say this version; with a `tag`, also what keeps it from release."""
    found = [
        f"{name} does not say {VERSION}"
        for name, pattern in SAYING.items()
        if not re.search(pattern, (root / name).read_text(encoding="utf-8"))
    ]
    if tag and tag != f"v{VERSION}":
        found.append(f"the tag {tag} is not v{VERSION}, which shared/version.py says")
    if tag and not re.fullmatch(r"\d{4}-\d\d-\d\d", _section(root)[0]):
        found.append(f"CHANGELOG.md has no date for {VERSION}")
    return found


def notes(root: Path = ROOT) -> str:
    """Return what CHANGELOG.md says of this version."""
    return _section(root)[1].strip() + "\n"


def _section(root: Path) -> tuple[str, str]:
    found = SECTION.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    return (found[1], found[2]) if found else ("", "")


def wheel(folder: Path) -> Path:
    """Build the wheel of this checkout into `folder`; returns its path."""
    with contextlib.chdir(ROOT):  # the backend works where it is started, and asks nobody
        made: str = _library("hatchling.build").build_wheel(str(folder.absolute()))
    return folder / made


def chart(folder: Path) -> Path:
    """Package the Helm chart into `folder`; returns its path."""
    with _library("helm_python").Chart.load(CHART) as loaded:
        return Path(loaded.save(folder))


def _library(name: str) -> Any:  # noqa: ANN401 - a module
    if str(INSTALLED) not in sys.path:
        sys.path.append(str(INSTALLED))
    return importlib.import_module(name)


@program.command(ABOUT)
@click.option("--tag", default="", help="The tag that is released, v0.1.0: refused if it differs.")
@click.option(
    "--into",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=ROOT / "dist",
    show_default="dist",
    help="Folder to make them in; what is there is removed.",
)
def command(tag: str, folder: Path) -> int:
    """Check, then build; return the exit code."""
    wrong = contradictions(tag=tag)
    for one in wrong:
        click.echo(one, err=True)
    if wrong:
        return EXIT_WRONG
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "notes.md").write_text(notes(), encoding="utf-8")
    for made in (wheel(folder), chart(folder)):
        click.echo(made)
    return 0


if __name__ == "__main__":
    sys.exit(program.execute(command, "tools.release"))
