"""What became of each message that was published: the broker has it, or no queue took it. Pure."""

from collections import Counter
from itertools import takewhile
from typing import Generic, Literal, TypeVar

PERSISTENT = 2

Failure = Literal["unroutable", "refused"]
"""No queue is bound for it; or one is, and did not take it: it is full, or lost its nodes."""
Fate = Failure | Literal["confirmed"]

M = TypeVar("M")


class InFlight(Generic[M]):
    """Messages on their way to the broker, over one channel, in the order of their publishing."""

    def __init__(self) -> None:
        """Nothing was published yet."""
        self._published = 0
        self._messages: dict[int, tuple[str, M]] = {}
        self._of_id: Counter[str] = Counter()
        self._returned: set[str] = set()

    def __len__(self) -> int:
        """How many of them the broker has not decided about."""
        return len(self._messages)

    def messages(self) -> list[M]:
        """Return those, in order."""
        return [message for _, message in self._messages.values()]

    def add(self, message_id: str, message: M) -> None:
        """Take note of what is published next."""
        self._published += 1
        self._messages[self._published] = (message_id, message)
        self._of_id[message_id] += 1

    def forget(self) -> list[M]:
        """Return those of which nothing is decided, and wait for them no longer."""
        left = self.messages()
        self._messages.clear()
        self._of_id.clear()
        self._returned.clear()
        return left

    def on_return(self, message_id: str | None) -> None:
        """Hear that no queue took a message: before its confirm.

        Which of several with one id came back is not said, so none of them passes for taken.
        """
        if message_id is not None and message_id in self._of_id:
            self._returned.add(message_id)

    def decided(self, tag: int, *, multiple: bool, taken: bool) -> list[tuple[M, Fate]]:
        """Return each message about which the broker has decided now, and how."""
        numbers = [tag] if tag in self._messages else []
        if multiple:
            numbers = list(takewhile(lambda number: number <= tag, self._messages))
        return [self._settled(number, taken=taken) for number in numbers]

    def _settled(self, number: int, *, taken: bool) -> tuple[M, Fate]:
        message_id, message = self._messages.pop(number)
        unroutable = message_id in self._returned
        self._of_id[message_id] -= 1
        if not self._of_id[message_id]:
            del self._of_id[message_id]
            self._returned.discard(message_id)
        return message, "unroutable" if unroutable else "confirmed" if taken else "refused"
