"""Local files that a person names: written, or refused with a reason."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from shared import output
from shared.errors import Refusal

GONE_WITH_CONTAINER = {Path("/"), Path("/tmp"), Path("/dev/shm")}  # noqa: S108 - nothing is written
"""Mounts of our container whose files end with it."""


class Writer(Protocol):
    """What bytes can be written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of `data`."""


@contextlib.contextmanager
def writing(path: str, *, in_container: bool = False) -> Iterator[Writer]:
    """Open `path` for writing; `-` is standard output, and a reader that leaves ends it.

    Raises `Refusal` when something cannot be written, also at the end; and before anything is done
    when we run `in_container` and the file would be gone with it.
    """
    try:
        if path == "-":
            yield _Standard()
            _Standard.check()
            return
        if in_container and gone_with_container(Path(path)):
            raise Refusal(
                f"{path} would be gone with this container: write to standard output"
                " (docker compose run --rm -T ops ... > FILE), or mount a folder (run -v)"
            )
        with Path(path).open("wb") as file:
            yield file
    except BrokenPipeError:
        if path != "-":
            raise Refusal(f"{_named(path)} cannot be written: nobody reads it") from None
    except OSError as error:
        raise Refusal(f"{_named(path)} cannot be written: {error.strerror}") from error


class _Standard:
    """Standard output that says when something did not arrive."""

    def write(self, data: bytes) -> int:
        sys.stdout.buffer.write(data)
        raw = getattr(sys.stdout.buffer, "raw", None)
        if isinstance(raw, output.Outlet) and raw.failure is not None:
            raise raw.failure
        return len(data)

    @staticmethod
    def check() -> None:
        error = output.failure(sys.stdout)
        if error is not None:
            raise error


def gone_with_container(path: Path) -> bool:
    """Say whether a file made there by a container of ours is gone with it."""
    if path.exists() and not path.is_file():
        return False  # a terminal, a pipe
    folder = path.resolve().parent
    return next(one for one in (folder, *folder.parents) if one.is_mount()) in GONE_WITH_CONTAINER


def _named(path: str) -> str:
    return "standard output" if path == "-" else os.fsencode(path).decode(errors="replace")
