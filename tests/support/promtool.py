"""Prometheus's checker of rules, fetched once by deploy/airgap/promtool.sh."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support import tools

RUN_TIMEOUT_S = 240.0


@dataclass(frozen=True)
class Promtool:
    """The program at `path`."""

    path: str

    def run(self, folder: Path, *arguments: str) -> str:
        """Return what it says inside `folder`; fails with it if it finds something."""
        done = subprocess.run(
            [self.path, *arguments],
            cwd=folder,
            capture_output=True,
            check=False,
            text=True,
            timeout=RUN_TIMEOUT_S,
        )
        said = done.stdout + done.stderr
        if done.returncode:
            raise AssertionError(said)
        return said


def fetched() -> Promtool:
    """Return it; where it cannot be had skip on a laptop, fail where `CI` is set."""
    return Promtool(tools.path("promtool.sh"))
