"""One search: spin writes a checker in C for a model, gcc compiles it, the checker searches."""

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from model.checks import Check

MODELS = Path(__file__).parent
DEPTH_MAX = 200_000
MEMORY_MAX_MB = 9000
# COLLAPSE compresses the states that are kept, and loses none of them.
COMPILE = ["gcc", "-O2", "-w", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MAX_MB}"]
SAFETY = ["-DSAFETY"]
# Of runs without end those count in which nobody who could go on is passed over without end.
LIVENESS = ["-a", "-f"]
FOR_EVER = "eventually_truth"
INCOMPLETE = ("max search depth too small", "Search not completed", "out of memory", "memory limit")


class SpinFailed(Exception):
    """spin, gcc or the checker did not do what they should: a bug of the model."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a search ended: `broken` is the first property found broken, or `stuck`, or nothing."""

    check: Check
    broken: str
    exhaustive: bool
    states: int
    depth: int
    seconds: float

    @property
    def as_expected(self) -> bool:
        """Say whether the intact protocol holds in every state, or the mutant breaks its own."""
        if self.check.breaks is None:
            return not self.broken and self.exhaustive
        return self.broken == self.check.breaks


def search(check: Check, folder: Path) -> Verdict:
    """Search all states of `check` in a folder of its own. Raises `SpinFailed`."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.trail"):
        old.unlink()
    started = time.monotonic()
    _run(["spin", *check.defines(), "-a", str(_model(check))], folder)
    _run([*COMPILE, *([] if check.live else SAFETY), "-o", "pan", "pan.c"], folder)
    text = _run(["./pan", f"-m{DEPTH_MAX}", *(LIVENESS if check.live else [])], folder)
    (folder / "pan.out").write_text(text)
    return _read(check, text, time.monotonic() - started)


def story(check: Check, folder: Path) -> str:
    """Return what happens on the way to the broken property, a line a step, and the last state."""
    trail = f"{_model(check).name}.trail"
    if not (folder / trail).exists():
        return "no counterexample: nothing was found broken"
    told = _run(["spin", *check.defines(), "-T", "-k", trail, str(_model(check))], folder)
    return "\n".join(line for line in told.splitlines() if not line.startswith("\t\tno_"))


def _read(check: Check, text: str, seconds: float) -> Verdict:
    states = re.search(r"(\d+) states, stored", text)
    depth = re.search(r"depth reached (\d+)", text)
    if not (states and depth):
        raise SpinFailed(f"{check.name}: {text[-500:]}")
    broken = ""
    if found := re.search(r"pan:\d+: assertion violated (\w+)", text):
        broken = found[1]
    elif re.search(r"pan:\d+: acceptance cycle", text):
        broken = FOR_EVER
    elif re.search(r"pan:\d+: ", text):
        broken = "stuck"
    return Verdict(
        check=check,
        broken=broken,
        exhaustive=not any(sign in text for sign in INCOMPLETE),
        states=int(states[1]),
        depth=int(depth[1]),
        seconds=seconds,
    )


def _run(command: list[str], folder: Path) -> str:
    # The trail's replay exits with other codes than 0 although nothing is wrong.
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode and command[0] == "gcc":
        raise SpinFailed(done.stderr[-500:])
    if "Error:" in done.stdout and "-a" in command:
        raise SpinFailed(done.stdout[-500:])
    return done.stdout


def _model(check: Check) -> Path:
    return MODELS / f"{check.part}.pml"
