"""What `ops send`, `ops load` and `ops feed replay` print."""

from typing import NotRequired

from typing_extensions import TypedDict  # typing's own lacks what pydantic reads

from tools.json_types.asking import Error


class EventsSent(TypedDict):
    """How many ticks, `of` those asked for, had their events sent to `queue`."""

    queue: str
    first_epoch: int
    last_epoch: int
    ticks: int
    of: int


class SentToBroker(TypedDict):
    """How many messages became what."""

    confirmed: int
    unroutable: int
    refused: int
    undecided: int
    seconds: float
    per_second: float
    error: NotRequired[Error]


class InvalidLine(TypedDict):
    """What is not sent, and why; `line` counts from 1, `file` is empty for standard input."""

    line: int
    why: str
    file: str


class SentBatch(TypedDict):
    """The lines of one file."""

    batch: str
    file: str
    sha256: str
    lines: int
    made_up_ids: int


class ResumedBatch(TypedDict):
    """A batch that was begun before, and by whom."""

    batch: str
    at: str
    operator: str


class Sent(SentToBroker):
    """Also what was found in the input, and whether it is on record."""

    not_sent: int
    stopped: bool
    unconfirmed_file: str
    unconfirmed_lines: int
    unconfirmed_trouble: str
    advice: NotRequired[str]
    held_back: bool
    invalid: int
    invalid_lines: list[InvalidLine]
    made_up_ids: int
    batches: list[SentBatch]
    recorded: bool
    not_recorded: str
    resumed: list[ResumedBatch]


class LoadedProvider(TypedDict):
    """What was confirmed for one provider; `amount` in minor units."""

    provider: int
    messages: int
    amount: int


class Loaded(SentToBroker):
    """Also per provider."""

    providers: list[LoadedProvider]
