"""Notifiers that are killed at a place in their work."""

import contextlib
from collections.abc import Callable
from typing import Any, Literal

from hypothesis import strategies as st

from shared.errors import Unavailable
from tests.support.notifying import Life

KillPoint = Literal["in the transaction", "before publishing", "before the note"]
"""Where a notifier is killed at a tick: nothing is committed; it is, and not published; it
is published, and not noted."""
KILL_POINTS: st.SearchStrategy[KillPoint | None] = st.sampled_from(
    [None, None, None, "in the transaction", "before publishing", "before the note"]
)


class Killed(Exception):
    """A notifier was."""


@contextlib.contextmanager
def survived() -> Any:
    """Go on after a notifier that was killed inside, or whose connection the broker took for dead.

    On a busy machine that may be so: nobody turns the connection between two looks.
    """
    try:
        yield
    except Killed:
        pass
    except Unavailable as error:
        if error.server != "rabbitmq":
            raise


@contextlib.contextmanager
def killed_at(life: Life, point: KillPoint | None) -> Any:
    """Have a notifier killed at this place while inside."""
    follow, send = life.notifier.follow, life.publisher.send

    def killed_after(work: Callable[..., Any]) -> Callable[..., Any]:
        def killed(*given: Any) -> Any:
            done = work(*given)
            if done is None or done.confirmed or done.failed:
                raise Killed
            return done

        return killed

    if point == "in the transaction":
        life.notifier.follow = killed_after(follow)  # type: ignore[method-assign]
    if point == "before the note":
        life.publisher.send = killed_after(send)  # type: ignore[method-assign]
    yield
