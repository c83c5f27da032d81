"""What a run leaves behind when it fails: logs of every container, replaced ones too."""

from pathlib import Path

from docker.models.containers import Container

from tests.support.containers import ROOT
from tests.support.stack import Stack

BUG = '"event": "bug"'
FOLDER = ROOT / "build" / "soak"


def folder(stack: Stack) -> Path:
    """Return the run's own folder, made if it is missing."""
    path = FOLDER / stack.project
    path.mkdir(parents=True, exist_ok=True)
    return path


def keep_logs(stack: Stack, container: Container) -> None:
    """Write down what a container has said."""
    said = container.logs(timestamps=True)
    (folder(stack) / f"{container.name}-{container.short_id}.log").write_bytes(said)


def keep_all_logs(stack: Stack) -> None:
    """Write down what all containers that are there have said."""
    for one in stack.containers():
        keep_logs(stack, one)


def bugs(stack: Stack) -> list[str]:
    """Return what any of our programs called a bug of its own, also before it was replaced."""
    said = {one.name: one.logs().decode(errors="replace") for one in stack.containers()}
    said |= {path.name: path.read_text(errors="replace") for path in folder(stack).glob("*.log")}
    return [
        f"{name}: {line[:300]}"
        for name, text in said.items()
        for line in text.splitlines()
        if BUG in line
    ]
