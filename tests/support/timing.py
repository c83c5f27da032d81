"""How quick something is, on a machine that may stop us at any moment."""

from collections.abc import Callable, Sequence

ATTEMPTS = 10


def at_best_s(attempt: Callable[[], float], good_s: float) -> float:
    """Return the shortest time of several attempts; one of `good_s` or less is the last.

    A busy machine makes a time longer now and then; what is really slow is slow each time.
    """
    best_s = attempt()
    for _ in range(ATTEMPTS - 1):
        if best_s <= good_s:
            break
        best_s = min(best_s, attempt())
    return best_s


def in_a_row(seconds: Sequence[int]) -> int:
    """Return how many of the newest follow each other by one: a busy machine misses some."""
    for count, at in enumerate(reversed(seconds)):
        if at != seconds[-1] - count:
            return count
    return len(seconds)
