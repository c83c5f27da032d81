"""`make demo` as a person runs it, under a project name of its own."""

import subprocess
import sys

from tests.support.containers import ROOT
from tests.support.stack import Stack

COMMAND = [sys.executable, "-m", "demo"]


def run(stack: Stack, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end; its words are its standard output."""
    return subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=stack.environment() | settings,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
