"""`make demo` and `make tour` as a person runs them, under a project name of their own."""

import subprocess
import sys

from tests.support.containers import ROOT
from tests.support.stack import OUR_IMAGE, Stack

COMMAND = [sys.executable, "-m", "demo"]
TOUR = [sys.executable, "-m", "tour"]
ITS_IMAGE = {"MINUTEBOOK_IMAGE": f"{OUR_IMAGE}-demo"}
"""What it builds is not the image of the stacks that run meanwhile."""


def run(
    stack: Stack, command: list[str] = COMMAND, **settings: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end; its words are its standard output."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=stack.environment() | ITS_IMAGE | settings,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
