"""Standard output and standard error that take whatever is written to them.

A log that nobody reads, or that a full disk does not take, must not end a service; a command that
did its work must not fail because its answer could not be shown. So what cannot be written is
left out, and the first reason is remembered: who depends on the output asks `failure`.
Characters that the encoding of the terminal lacks are written as escapes.
"""

import errno
import io
import os
import select
import sys
from typing import TextIO

STDIN, STDOUT, STDERR = 0, 1, 2


class Outlet(io.FileIO):
    """A file descriptor whose failures to write are remembered instead of raised."""

    def __init__(self, descriptor: int, failure: OSError | None = None) -> None:
        """`failure` is given where it is known already that nothing arrives."""
        super().__init__(descriptor, "wb", closefd=False)
        self.failure = failure

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        """Write what can be written; what cannot counts as written."""
        while True:
            try:
                return os.write(self.fileno(), data)
            except BlockingIOError:  # somebody made the terminal or pipe that we share so
                select.select([], [self], [])
            except OSError as error:
                self.failure = self.failure or error
                return memoryview(data).nbytes


def protect() -> None:
    """Put an `Outlet` behind `sys.stdout` and `sys.stderr`: the first thing that a program does.

    Where one of them is closed, nothing else may get its number: a socket would be written to.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return  # somebody reads what this process writes: a test
    while (opened := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(opened)
    sys.stdin = sys.stdin or open(STDIN, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout, sys.stderr = _protected(sys.stdout, STDOUT), _protected(sys.stderr, STDERR)


def failure(stream: TextIO) -> OSError | None:
    """Return why something written to `stream` did not arrive; None if all did, or none of ours."""
    stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, Outlet) else None


def _protected(stream: TextIO | None, descriptor: int) -> TextIO:
    """Return the stream with an `Outlet` behind it; Python has none where it found it closed."""
    nobody = None if stream else OSError(errno.EBADF, os.strerror(errno.EBADF))
    at_once = any(getattr(stream, one, False) for one in ("line_buffering", "write_through"))
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(descriptor, nobody)),  # type: ignore[type-var]
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        line_buffering=at_once or descriptor == STDERR,
    )
