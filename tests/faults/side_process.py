"""Work in a process of its own, for whom threads among others would be too slow."""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Generic, TypeVar

import docker

from tests.support.stack import Stack

READY_TIMEOUT_S, ANSWER_TIMEOUT_S = 60.0, 60.0
CONTEXT = multiprocessing.get_context("spawn")

T = TypeVar("T")
Work = Callable[[Stack, Event, Event], T]
"""Done to a stack until the first event is set; it sets the second one once it has begun."""


class SideProcess(Generic[T]):
    """Work that is done elsewhere."""

    def __init__(self, stack: Stack, work: Work[T]) -> None:
        """`work` is a function of a module, or a partial one. It does not begin before `start`."""
        self._stop, self._ready = CONTEXT.Event(), CONTEXT.Event()
        self._answer, theirs = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(
            target=_work,
            args=(work, (stack.project, stack.secrets), self._stop, self._ready, theirs),
            daemon=True,
        )

    def start(self) -> None:
        """Begin, and wait until it says that it has."""
        self._process.start()
        if not self._ready.wait(READY_TIMEOUT_S):
            raise TimeoutError("a process beside the stack does not begin")

    def end(self) -> T:
        """Have it stop; returns what it found."""
        self._stop.set()
        if not self._answer.poll(ANSWER_TIMEOUT_S):
            raise TimeoutError("a process beside the stack does not answer")
        found: T = self._answer.recv()
        self._process.join()
        return found

    def kill(self) -> None:
        """End it whatever it does."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def beside(stack: Stack, work: Work[T]) -> Iterator[SideProcess[T]]:
    """Have the work done while inside, or until asked for the end."""
    found = SideProcess(stack, work)
    try:
        found.start()
        yield found
    finally:
        found.kill()


def _work(
    work: Work[T],
    known: tuple[str, dict[str, str]],
    stop: Event,
    ready: Event,
    answer: Connection,
) -> None:
    project, secrets = known
    stack = Stack(docker.from_env(), secrets)
    stack.project = project
    answer.send(work(stack, stop, ready))
