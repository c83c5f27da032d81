"""Errors of three kinds: server in trouble (retry), unfit message (dead letter), bug (crash)."""

from typing import Literal

Server = Literal["postgres", "rabbitmq", "keydb"]


class Unavailable(Exception):
    """A server cannot be reached, or cannot do its work now; the same call may succeed later."""

    state = "cannot be reached"
    """What the server does: follows its name."""

    def __init__(self, server: Server, detail: str) -> None:
        """`detail` is shown to people: it never holds a DSN, a password or a payload."""
        super().__init__(f"{server}: {detail}")
        self.server: Server = server
        self.detail = detail


class TooMuch(Unavailable):
    """The server gave a statement up for want of time, locks or room; a smaller one may succeed."""


class TooSlow(TooMuch):
    """The server gave a statement up when its time was over."""

    state = "took too long"


class StatementFailed(Unavailable):
    """The server answered a statement with an error of the database as it is now.

    Services wait until somebody has changed that; a tool says so and ends.
    """

    def __init__(self, server: Server, detail: str, hint: str | None = None) -> None:
        """`hint` is the server's own advice."""
        super().__init__(server, detail)
        self.hint = hint


class Denied(Unavailable):
    """The server answers and refuses us: the login, a right, or what it is there for.

    Asking again soon does not help: services do so with long pauses, a tool says so and ends.
    """

    state = "refuses"


class Busy(TooMuch):
    """The server is healthy, and somebody else has what is needed: a lock, most likely."""

    state = "is busy"


class Refusal(Exception):
    """We decline to run here (schema too old, server that evicts): a person has to act."""


class Unanswerable(Refusal):
    """What is kept does not answer the question; the message says what does."""
