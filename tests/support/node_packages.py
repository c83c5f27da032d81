"""What a test needs of Node: packages by a lock, installed once into build/."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.containers import ROOT

INSTALL_TIMEOUT_S = 240.0
NEEDED = "node 20 or newer and npm are needed: apt-get install nodejs npm, or https://nodejs.org"


def installed(folder: Path) -> Path:
    """Return a copy of `folder` in build/ with its packages; made once for each lock and content.

    Without Node skip on a laptop, fail where `CI` is set.
    """
    require()
    found = sorted(one for one in folder.iterdir() if one.is_file())
    digest = hashlib.sha256(b"".join(one.read_bytes() for one in found)).hexdigest()[:12]
    target = ROOT / "build" / "node" / f"{folder.name}-{digest}"
    if not target.exists():
        _install(found, target)
    return target


def require() -> None:
    """Skip or fail, as `installed` does, unless Node is there."""
    if not (shutil.which("node") and shutil.which("npm")):
        _give_up(NEEDED)


def _install(files: list[Path], target: Path) -> None:
    """Install aside and move, so that two runs at once do not see half of it."""
    aside = target.with_name(f"{target.name}.{os.getpid()}")
    aside.mkdir(parents=True)
    for one in files:
        shutil.copy(one, aside)
    done = subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"],
        cwd=aside,
        check=False,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
    )
    if done.returncode:
        shutil.rmtree(aside)
        _give_up(f"npm could not install {aside.name}: {done.stderr.strip()}")
    try:
        aside.rename(target)
    except OSError:  # another run was first
        shutil.rmtree(aside)


def _give_up(message: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
