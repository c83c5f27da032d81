"""Notifiers that die at a place in their work."""

import contextlib
from collections.abc import Callable
from typing import Any, Literal

from hypothesis import strategies as st

from shared.errors import Unavailable
from tests.support.notifying import Life

Death = Literal["in the transaction", "before publishing", "before the note"]
"""When a notifier dies at a tick: nothing is committed; it is, and not published; it is published,
and not noted."""
DEATHS: st.SearchStrategy[Death | None] = st.sampled_from(
    [None, None, None, "in the transaction", "before publishing", "before the note"]
)


class Died(Exception):
    """A notifier did."""


@contextlib.contextmanager
def mortal() -> Any:
    """Let a notifier die inside, also of a connection that the broker took for dead.

    On a busy machine that may be so: nobody turns the connection between two looks.
    """
    try:
        yield
    except Died:
        pass
    except Unavailable as error:
        if error.server != "rabbitmq":
            raise


@contextlib.contextmanager
def dying(life: Life, death: Death | None) -> Any:
    """Let a notifier die at this place while inside."""
    follow, send = life.notifier.follow, life.publisher.send

    def dies_after(work: Callable[..., Any]) -> Callable[..., Any]:
        def dying(*given: Any) -> Any:
            done = work(*given)
            if done is None or done.confirmed or done.failed:
                raise Died
            return done

        return dying

    if death == "in the transaction":
        life.notifier.follow = dies_after(follow)  # type: ignore[method-assign]
    if death == "before the note":
        life.publisher.send = dies_after(send)  # type: ignore[method-assign]
    yield
