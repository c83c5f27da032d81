"""`python -m fuzz`: each target for its share of the time, and what came of it."""

import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from fuzz.targets import TARGETS, Target
from shared import program

ABOUT = """\
Fuzzes what reads foreign bytes, guided by coverage (atheris, libFuzzer). What is found is kept in
build/fuzz: each corpus for the next run, and a file for every crash."""
FOLDER = Path("build/fuzz")
EXIT_FINDING = 1
UNIT_TIMEOUT_S = 30
"""An input that takes longer is a finding, too; a busy machine may stop us for seconds."""
CORPUS_FILES_MAX = 2000
GRACE_S = 60
EXECUTIONS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/(\S+)")


@dataclass(frozen=True, slots=True)
class Run:
    """What one target's run came to."""

    name: str
    executions: int
    coverage: str
    features: str
    corpus: str
    crashes: tuple[Path, ...]
    said: str


def main() -> int:
    """Do what the command line says; return the exit status."""
    return program.execute(command, "fuzz")


@program.command(ABOUT, f"Targets: {', '.join(TARGETS)}.")
@click.option(
    "--seconds", type=click.IntRange(1), default=60, show_default=True,
    help="For all targets together.",
)  # fmt: skip
@click.option("--only", default="", metavar="START", help="Targets whose names begin so.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Of chance; 0: any.")
def command(*, seconds: int, only: str, seed: int) -> int:
    """Fuzz what was asked for; return the exit status."""
    names = [name for name in TARGETS if name.startswith(only)]
    if not names:
        raise click.BadParameter(
            f"no such target; there are {', '.join(TARGETS)}", param_hint="--only"
        )
    each_s = max(1, seconds // len(names))
    console = Console(highlight=False)
    runs = []
    for name in names:
        console.print(f"==> {name}, {each_s} s")
        runs.append(fuzz(name, each_s, seed))
    show(runs, console)
    return EXIT_FINDING if any(run.crashes for run in runs) else 0


def fuzz(name: str, seconds: int, seed: int) -> Run:
    """Run one target in a process of its own, which libFuzzer ends."""
    corpus, words = prepare(name, TARGETS[name])
    found = FOLDER / name
    before = set(FOLDER.glob(f"{name}-*"))
    done = subprocess.run(
        [
            sys.executable, "-m", "fuzz.target", name, str(corpus), f"-max_total_time={seconds}",
            f"-timeout={UNIT_TIMEOUT_S}", f"-max_len={TARGETS[name].bytes_max}", f"-seed={seed}",
            f"-dict={words}", f"-artifact_prefix={found}-", "-print_final_stats=1",
        ],
        check=False, capture_output=True, text=True, errors="replace", timeout=seconds + GRACE_S,
    )  # fmt: skip
    crashes = tuple(sorted(set(FOLDER.glob(f"{name}-*")) - before))
    if done.returncode and not crashes:
        raise SystemExit(f"fuzz: {name} ended with {done.returncode}\n{done.stderr[-3000:]}")
    executions = EXECUTIONS.findall(done.stderr) or ["0"]
    edges, features, files, size = (COVERAGE.findall(done.stderr) or [("-", "-", "-", "-")])[-1]
    said = done.stdout + done.stderr
    return Run(name, int(executions[-1]), edges, features, f"{files} files, {size}", crashes, said)


def prepare(name: str, target: Target) -> tuple[Path, Path]:
    """Return the folder of the corpus, seeds in it, and the file of words."""
    corpus = FOLDER / "corpus" / name
    if corpus.exists() and len(list(corpus.iterdir())) > CORPUS_FILES_MAX:
        shutil.rmtree(corpus)
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.seeds():
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    words = FOLDER / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    return corpus, words


def show(runs: list[Run], console: Console) -> None:
    """Print what each run came to, and how to see each crash again."""
    table = Table("target", "executions", "coverage", "features", "corpus", "crashes")
    for run in runs:
        table.add_row(
            run.name, f"{run.executions:,}", run.coverage, run.features, run.corpus,
            str(len(run.crashes)),
        )  # fmt: skip
    console.print(table)
    for run in runs:
        for crash in run.crashes:
            console.print(f"fuzz: {crash}\n    {sys.executable} -m fuzz.target {run.name} {crash}")
            console.print(run.said[-2000:], markup=False)
    executions = sum(run.executions for run in runs)
    crashes = sum(len(run.crashes) for run in runs)
    console.print(f"fuzz: {executions:,} executions, {crashes} crashes")


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{one:02x}" for one in word)


if __name__ == "__main__":
    sys.exit(main())
