"""`make demo` and `make tour` as a person runs them, under a project name of their own."""

import subprocess
import sys

from tests.support.containers import ROOT
from tests.support.stack import Stack

COMMAND = [sys.executable, "-m", "demo"]
TOUR = [sys.executable, "-m", "tour"]


def run(
    stack: Stack, command: list[str] = COMMAND, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; its words are its standard output."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=stack.environment() | settings,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
