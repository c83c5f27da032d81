"""Tools that a script of `deploy/airgap/` finds, or gets from the distribution."""

import os
import subprocess

import pytest

from tests.support.containers import ROOT

FETCH_TIMEOUT_S = 240.0


def path(script: str) -> str:
    """Return where the tool is; where it cannot be had skip on a laptop, fail where `CI` is set."""
    done = subprocess.run(
        [str(ROOT / "deploy" / "airgap" / script)],
        capture_output=True,
        check=False,
        text=True,
        timeout=FETCH_TIMEOUT_S,
    )
    if done.returncode:
        message = done.stderr.strip()
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return done.stdout.splitlines()[-1]
