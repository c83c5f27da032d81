"""`python -m model`: search the intact protocol and every mutant, and show what was found."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from model import spin
from model.checks import INTACT, MUTANTS, PROPERTIES, Check
from model.spin import SpinFailed, Verdict
from shared import program

ABOUT = """\
Checks the protocol: every state of the intact models must keep every property, and every mutant,
in which one guard is taken out, must break the property that the guard is there for."""
FOLDER = Path("build/model").absolute()
EXIT_FINDING, EXIT_UNREACHABLE = 1, 3
PLAIN_WIDTH = 150


def main() -> int:
    """Do what the command line says; return the exit status."""
    return program.execute(command, "model")


@program.command(ABOUT, "Exit status: 0 all as expected, 1 not, 2 usage, 3 spin or gcc is missing.")
@click.option(
    "--only", default="", metavar="START", help="Models and mutants whose name starts so."
)
@click.option("--trail", is_flag=True, help="Show the way to each broken property, step by step.")
@click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="one per processor",
    help="Searches at once.",
)  # fmt: skip
def command(*, only: str, trail: bool, jobs: int) -> int:
    """Search what was asked for; return the exit status."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    if missing := [name for name in ("spin", "gcc") if shutil.which(name) is None]:
        console.print(
            f"model: {' and '.join(missing)} not found: see 'deploy/airgap/spin.sh --help'"
        )
        return EXIT_UNREACHABLE
    checks = [check for check in (*INTACT, *MUTANTS) if check.name.startswith(only)]
    started = time.monotonic()
    try:
        verdicts = _search_all(checks, jobs, console)
    except SpinFailed as error:
        console.print(f"model: {error}", markup=False)
        return EXIT_FINDING
    _show(verdicts, console)
    if trail:
        _tell(verdicts, console)
    wrong = [verdict.check.name for verdict in verdicts if not verdict.as_expected]
    took_s = time.monotonic() - started
    console.print(f"model: {len(verdicts) - len(wrong)} as expected, {took_s:.0f} s")
    if wrong:
        console.print(f"model: NOT as expected: {', '.join(wrong)}")
    return EXIT_FINDING if wrong else 0


def _search_all(checks: Sequence[Check], jobs: int, console: Console) -> list[Verdict]:
    with ThreadPoolExecutor(jobs) as pool:
        running = {pool.submit(spin.search, check, FOLDER / check.name): check for check in checks}
        for future in as_completed(running):
            verdict = future.result()
            found = verdict.broken or "nothing broken"
            console.print(f"    {verdict.check.name}: {found}, {verdict.seconds:.0f} s")
        return [future.result() for future in running]


def _show(verdicts: Sequence[Verdict], console: Console) -> None:
    intact = Table(title="The protocol: nothing may break")
    mutants = Table(title="Mutants: each with one guard taken out")
    for table, columns in (
        (intact, ("model", "bounds", "properties")),
        (mutants, ("mutant", "what it does", "must break")),
    ):
        for column in columns:
            table.add_column(column)
        table.add_column("found")
        for column in ("states", "depth", "s"):
            table.add_column(column, justify="right")
    for verdict in verdicts:
        check = verdict.check
        wanted = check.breaks or ", ".join(PROPERTIES[check.part])
        table = mutants if check.breaks else intact
        figures = (f"{verdict.states:,}", f"{verdict.depth:,}", f"{verdict.seconds:.0f}")
        table.add_row(check.name, check.about, wanted, _found(verdict), *figures)
    for table in (intact, mutants):
        if table.row_count:
            console.print(table)


def _found(verdict: Verdict) -> str:
    if verdict.broken:
        return verdict.broken if verdict.as_expected else f"BROKEN: {verdict.broken}"
    if verdict.check.breaks:
        return "SURVIVED"
    return "all hold, exhaustive" if verdict.exhaustive else "NOT ALL SEARCHED"


def _tell(verdicts: Sequence[Verdict], console: Console) -> None:
    for verdict in verdicts:
        console.print(f"==> {verdict.check.name}")
        told = spin.story(verdict.check, FOLDER / verdict.check.name)
        console.print(told, markup=False)


if __name__ == "__main__":
    sys.exit(main())
