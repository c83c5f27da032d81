"""Questions to all shards at once, each on threads of its own; who hangs is waited for so long."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from shared.errors import Refusal, Unavailable

WITHIN_S = 2.0
"""For all of them, before the deadline of the question of which they are a part."""
THREADS_EACH = 2
"""A shard that hangs costs its own threads, not those of others."""

T = TypeVar("T")
Question = Callable[[], T]


class EachShard:
    """Asks them; used from several threads."""

    def __init__(self, count: int) -> None:
        """There are `count` of them."""
        self._threads = [ThreadPoolExecutor(THREADS_EACH) for _ in range(count)]

    def ask(
        self, questions: Mapping[int, Question[T]], until: float
    ) -> dict[int, T | Unavailable | Refusal]:
        """Return what each shard says by its number, or why it says nothing in time.

        `until` is by the monotonic clock.
        """
        within_s = max(0.0, until - time.monotonic())
        running = {number: self._submit(number, one) for number, one in questions.items()}
        return {number: _within(one, until, within_s) for number, one in running.items()}

    def close(self) -> None:
        """Ask nothing any more; what hangs is left to its own time-out."""
        for one in self._threads:
            one.shutdown(wait=False, cancel_futures=True)

    def _submit(self, number: int, question: Question[T]) -> "Future[T | Unavailable | Refusal]":
        try:
            return self._threads[number].submit(_answer, question)
        except RuntimeError as error:  # closed while a page is between two questions
            refused: Future[T | Unavailable | Refusal] = Future()
            refused.set_result(Unavailable("postgres", f"not asked: {error}"))
            return refused


def _answer(question: Question[T]) -> T | Unavailable | Refusal:
    try:
        return question()
    except (Unavailable, Refusal) as error:
        return error


def _within(
    running: "Future[T | Unavailable | Refusal]", until: float, within_s: float
) -> T | Unavailable | Refusal:
    try:
        return running.result(max(0.0, until - time.monotonic()))
    except CancelledError:  # by `close`
        return Unavailable("postgres", "not asked: the console stops")
    except TimeoutError:
        running.cancel()  # what has not begun by now is not asked any more
        return Unavailable("postgres", f"no answer within {within_s:.1f} s")
