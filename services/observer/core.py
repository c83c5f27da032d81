"""What the observer decides, without clock, socket or randomness."""

from collections import deque
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from shared import json_object
from shared.amqp.properties import MalformedProperties, Properties
from shared.change_record import integer, present, read_object
from shared.unfit import Unfit

QUEUE = "sightings"
EXCHANGE = "sightings.retry"
"""Leads to the queues below, and from each of them back to `QUEUE`."""
DELAYS_MS = (1000, 2000, 4000, 8000, 16_000)
RETRY_QUEUES = {f"{EXCHANGE}.{delay_ms}": delay_ms for delay_ms in DELAYS_MS}
"""Each holds a message for its time. One queue for all would let the longest hold up the others."""
CAME_FROM = "x-first-death-queue"
"""The header in which the broker names the queue where a message's time was over."""
AWAY_STATUSES = (429, 502, 503, 504)
"""By these whoever is in front of an API says that it answers nobody now."""
FEW = 5
"""Objects without an answer, below which they may be the reason, and not the API."""
RESTART_PART = 10
"""After an outage we begin with one in so many of the lookups that are allowed at a time."""

Outcome = Literal["seen", "away", "error", "silence"]
"""Of one lookup: online, not online, an answer that says neither, none at all."""


class Sighting(NamedTuple):
    """A message that says that somebody has seen an object, and its delivery."""

    tag: int
    object_id: int
    properties: Properties
    body: bytes


class Answer(NamedTuple):
    """What a lookup led to; `error` says why there is no answer of use."""

    outcome: Outcome
    error: str = ""


def object_id(body: bytes) -> int:
    """Return which object a message is about. Raises `Unfit`."""
    return integer(present(read_object(body), "object_id"), "object_id")


def encode(object_id: int) -> bytes:
    """Return the body of a sighting."""
    return msgspec.json.encode({"object_id": object_id})


def next_queue(properties: Properties) -> str | None:
    """Return where a message waits for its next lookup; None after the last one.

    Which queue it came from says how often it was tried: what we publish there is a new message.
    """
    try:
        came_from = (properties.headers or {}).get(CAME_FROM)
    except MalformedProperties:
        came_from = None
    names = list(RETRY_QUEUES)
    tried = names.index(came_from) + 1 if came_from in names else 0
    return names[tried] if tried < len(names) else None


def interpret(status: int, body: bytes, asked: int) -> Answer:
    """Return what an answer of the API says about the object `asked`."""
    if status in AWAY_STATUSES:
        return Answer("silence", f"status {status}")
    if status != 200:  # noqa: PLR2004 - OK
        return Answer("error", f"status {status}")
    try:
        return _read(json_object.read(body), asked)
    except Unfit as unfit:
        return Answer("error", f"the answer: {unfit.error}")


def _read(found: Mapping[str, object], asked: int) -> Answer:
    about, online = found.get("id"), found.get("online")
    if isinstance(about, bool) or about != asked:
        return Answer("error", "the answer is about another object")
    if not isinstance(online, bool):
        return Answer("error", "the answer has no boolean online")
    return Answer("seen" if online else "away")


class Flow:
    """Which lookups may begin, and whose fault it is if one gets no answer.

    A lookup without an answer is held until that is clear. If anybody is answered after it, the
    reason is its object. If nobody is, no other lookup begins, and once all have ended the API's
    front is asked: if that does not answer either, or if many objects got no answer, the API
    answers nobody. Then nothing is looked up here until `resume`.
    """

    def __init__(self, most: int) -> None:
        """`most` is how many lookups there may be at a time."""
        self._most = most
        self._window = most
        self.down: int | None = None
        """The object by which to find out whether the API answers again; None while it does."""
        self.forget()

    def forget(self) -> None:
        """Drop all sightings: those of a connection that is gone come again."""
        self._waiting: deque[Sighting] = deque()
        self._held: list[tuple[Sighting, str]] = []
        self.in_flight = 0

    def add(self, one: Sighting) -> None:
        """Take a sighting that is to be looked up."""
        self._waiting.append(one)

    def begin(self) -> list[Sighting]:
        """Return those whose lookup is to begin now."""
        if self._held or self.down is not None:
            return []
        count = min(len(self._waiting), self._window - self.in_flight)
        self.in_flight += count
        return [self._waiting.popleft() for _ in range(count)]

    def answered(self) -> list[tuple[Sighting, str]]:
        """Note that one was answered; return those held, which got no answer by their own fault."""
        self.in_flight -= 1
        self._window = min(self._window + 1, self._most)
        held, self._held = self._held, []
        return held

    def unanswered(self, one: Sighting, error: str) -> None:
        """Hold one that got no answer, and why."""
        self.in_flight -= 1
        self._held.append((one, error))

    @property
    def in_doubt(self) -> bool:
        """Whether it is time to ask the API's front."""
        return bool(self._held) and not self.in_flight and self.down is None

    def decide(self, *, front_answers: bool) -> list[tuple[Sighting, str]]:
        """End the doubt; return those held if it is their own fault. Else the API is `down`."""
        held, self._held = self._held, []
        if front_answers and len({one.object_id for one, _ in held}) < FEW:
            return held
        self.down = held[-1][0].object_id
        return []

    def resume(self) -> None:
        """Begin again with few lookups at a time, since the API answers."""
        self.down = None
        self._window = max(1, self._most // RESTART_PART)
