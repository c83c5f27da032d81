"""An older commit of this project, unpacked beside the checkout, and its programs as processes."""

import contextlib
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.containers import ROOT
from tests.support.programs import Program

OLD = "bffdcfe0c3391f3c1d256e46f69692eedf1d2166"
"""The newest release; before the first one, the first commit with the migrations of today."""
PACKAGES = ("adoption", "migrations", "reconciliation", "services", "shared")


@contextlib.contextmanager
def unpacked() -> Iterator[Path]:
    """Yield a folder with the programs of commit `OLD`; skip where a shallow clone lacks it.

    Our workflow fetches the whole history, so there it must be.
    """
    packed = subprocess.run(
        ["git", "-C", ROOT, "archive", OLD, *PACKAGES], capture_output=True, check=False
    )
    if packed.returncode:
        said = packed.stderr.decode(errors="replace").strip()
        (pytest.fail if os.environ.get("GITHUB_ACTIONS") else pytest.skip)(f"commit {OLD}: {said}")
    with (
        tempfile.TemporaryDirectory() as folder,
        tarfile.open(fileobj=BytesIO(packed.stdout)) as tar,
    ):
        tar.extractall(folder, filter="data")
        tree = Path(folder)
        # Until the first release migrations may be edited: from there no upgrade leads here.
        if edited := [one.name for one in _migrations(tree) if not _is_ours(one)]:
            pytest.skip(
                f"commit {OLD} has other migrations ({', '.join(edited)}): name a newer one"
            )
        yield tree


def _migrations(tree: Path) -> list[Path]:
    return sorted((tree / "migrations").glob("*.sql"))


def _is_ours(file: Path) -> bool:
    ours = ROOT / "migrations" / file.name
    return ours.exists() and ours.read_bytes() == file.read_bytes()


@contextlib.contextmanager
def running(tree: Path, module: str, **environment: str) -> Iterator[Program]:
    """Run `python -m module` of an older commit while inside, as `programs.running` does ours."""
    settings = {"LOG_FORMAT": "json", "METRICS_PORT": "0", "METRICS_HOST": "127.0.0.1"}
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tree), **settings, **environment}
    with tempfile.TemporaryDirectory() as folder:
        log_path = Path(folder) / "log"
        with (
            log_path.open("wb") as log,
            subprocess.Popen(
                [sys.executable, "-m", module], cwd=tree, env=given, stderr=log
            ) as process,
        ):
            try:
                yield Program(process, log_path)
            finally:
                process.kill()
