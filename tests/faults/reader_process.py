"""The reader in a process of its own: as a thread among others it would look too rarely."""

import contextlib
import multiprocessing
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event

import docker

from tests.faults.reader import Reader, Seen
from tests.support.stack import Stack

ANSWER_TIMEOUT_S = 30.0
CONTEXT = multiprocessing.get_context("spawn")


class Reading:
    """A reader at work elsewhere."""

    def __init__(self, stack: Stack, names: Sequence[str]) -> None:
        """Nothing is read before `start`."""
        self._stop = CONTEXT.Event()
        self._answer, theirs = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(
            target=_read, args=(stack.project, list(names), self._stop, theirs), daemon=True
        )

    def start(self) -> None:
        """Begin to look."""
        self._process.start()

    def end(self) -> Seen:
        """Look no more; returns what was seen."""
        self._stop.set()
        if not self._answer.poll(ANSWER_TIMEOUT_S):
            raise TimeoutError("the reader does not answer")
        seen: Seen = self._answer.recv()
        self._process.join()
        return seen

    def kill(self) -> None:
        """End it whatever it does."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def reading(stack: Stack, names: Sequence[str]) -> Iterator[Reading]:
    """Look while inside, or until asked for the end."""
    found = Reading(stack, names)
    found.start()
    try:
        yield found
    finally:
        found.kill()


def _read(project: str, names: Sequence[str], stop: Event, answer: Connection) -> None:
    stack = Stack(docker.from_env())
    stack.project = project
    reader = Reader(stack, names, stop)
    reader.run()
    answer.send(reader.seen)
