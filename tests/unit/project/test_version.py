"""Every program says which release it is."""

import tomllib
from collections.abc import Callable, Sequence

import pytest
from click.testing import CliRunner

from migrations.__main__ import main as migrate
from ops.__main__ import main
from services.ingest.__main__ import PROGRAM as INGEST
from services.syncer.__main__ import PROGRAM as SYNCER
from services.ticker.__main__ import PROGRAM as TICKER
from shared.postgres import SCHEMA_NEEDED
from shared.version import VERSION
from tests.faults.__main__ import main as faults
from tests.support.containers import ROOT

SAYS = f"minutebook {VERSION}, schema {SCHEMA_NEEDED}\n"
Main = Callable[[Sequence[str]], int]


def test_the_package_takes_the_version_from_the_one_place_that_says_it() -> None:
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())

    assert package["project"]["dynamic"] == ["version"]
    assert package["tool"]["hatch"]["version"]["path"] == "shared/version.py"
    assert (ROOT / "shared" / "version.py").read_text().endswith(f'VERSION = "{VERSION}"\n')


def test_the_tool_says_its_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == SAYS


@pytest.mark.parametrize("program", [migrate, INGEST.main, SYNCER.main, TICKER.main, faults])
def test_every_program_says_its_version(program: Main, capsys: pytest.CaptureFixture[str]) -> None:
    assert program(["--version"]) == 0
    assert capsys.readouterr().out == SAYS


@pytest.mark.parametrize("program", [migrate, INGEST.main, faults])
def test_what_no_program_takes_is_an_error_of_usage(
    program: Main, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program(["--no-such-option"]) == 2
    assert "--no-such-option" in capsys.readouterr().err
