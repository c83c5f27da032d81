"""Standard output and standard error that take whatever is written to them.

A log that nobody reads, or that a full disk does not take, must not end a service; a command that
did its work must not fail because its answer could not be shown. So what cannot be written is
left out, and the first reason is remembered: whoever depends on the output asks `failure`.
Characters that the encoding of the terminal lacks are written as escapes.
"""

import errno
import io
import os
import select
import sys
from typing import TextIO

STDIN, STDOUT, STDERR = 0, 1, 2


class Outlet(io.RawIOBase):
    """A file descriptor whose failures to write are remembered instead of raised."""

    def __init__(self, descriptor: int, failure: OSError | None = None) -> None:
        """`failure` is given where it is known already that nothing arrives."""
        self.failure = failure
        self._descriptor = descriptor

    def writable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Say whether a terminal is behind it."""
        return os.isatty(self._descriptor)

    def write(self, data: "bytes | bytearray | memoryview", /) -> int:  # type: ignore[override]
        """Write what can be written; what cannot counts as written."""
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:  # somebody made the terminal or pipe that we share so
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = self.failure or error
                return memoryview(data).nbytes


def protect() -> None:
    """Put an `Outlet` behind `sys.stdout` and `sys.stderr`: the first thing that a program does.

    Where one of them is closed, nothing else may get its number: a socket would be written to.
    """
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return  # somebody reads what this process writes: a test
    closed = _open_standard_descriptors()
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = _protected(sys.stdout, STDOUT, closed=STDOUT in closed)
    sys.stderr = _protected(sys.stderr, STDERR, closed=STDERR in closed)


def failure(stream: TextIO) -> OSError | None:
    """Return why something written to `stream` did not arrive; None if all did, or none of ours."""
    stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.failure if isinstance(raw, Outlet) else None


def reader_left(error: OSError | None) -> bool:
    """Say whether the reader of a pipe has closed it: it has what it wanted."""
    return error is not None and error.errno == errno.EPIPE


def _open_standard_descriptors() -> set[int]:
    closed = set()
    while (opened := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        closed.add(opened)
    os.close(opened)
    return closed


def _protected(stream: TextIO | None, descriptor: int, *, closed: bool) -> TextIO:
    nobody = OSError(errno.EBADF, os.strerror(errno.EBADF)) if closed else None
    at_once = descriptor == STDERR or (isinstance(stream, io.TextIOWrapper) and _at_once(stream))
    return io.TextIOWrapper(
        io.BufferedWriter(Outlet(descriptor, nobody)),  # type: ignore[type-var]
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        line_buffering=at_once,
    )


def _at_once(stream: io.TextIOWrapper) -> bool:
    return stream.line_buffering or stream.write_through
