"""A batch: the lines of one file, whose identities are its name and the place of each. Pure.

The same batch sent twice counts once. So a name must never stand for other lines, and lines must
not come again under another name unless a person says that they are other transactions.
"""

import heapq
import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import combinations

from ops.wording import moment, visible

NAME_BYTES_MAX = 200
"""With the number of a line behind it, below what an identity may have."""
FILE_NAME_MAX = 100
DIGEST_SHOWN = 16
RUN_LINES = 8
RUNS_KEPT = 64
ALIKE_FROM = 8
"""Files are alike from one in so many runs on."""
TYPED_NAME = re.compile(r"send-[0-9a-f]{32}")


class Runs:
    """A sample of the runs of lines in a file: equal runs of two files are mostly kept by both.

    The smallest digests are kept (Broder, "On the resemblance and containment of documents", 1997).
    """

    def __init__(self) -> None:
        self._last: deque[bytes] = deque(maxlen=RUN_LINES)
        self._heap: list[int] = []
        self._kept: set[int] = set()

    def add(self, body: bytes) -> None:
        """Take the next line."""
        self._last.append(body)
        if len(self._last) < RUN_LINES:
            return
        run = -int.from_bytes(blake2b(b"\n".join(self._last), digest_size=8).digest())
        if run in self._kept or (len(self._heap) == RUNS_KEPT and run < self._heap[0]):
            return
        self._kept.add(run)
        if len(self._heap) < RUNS_KEPT:
            heapq.heappush(self._heap, run)
        else:
            self._kept.discard(heapq.heappushpop(self._heap, run))

    def kept(self) -> list[str]:
        """Return them as hexadecimal digits."""
        return sorted(f"{-run:016x}" for run in self._kept)


@dataclass(frozen=True, slots=True)
class Batch:
    """One file to be sent; `file` is empty for standard input."""

    name: str
    file: str
    sha256: str
    named: bool = False
    """Whether a person chose the name."""
    typed: bool = False
    """Whether it is arguments: the same typed twice is meant twice, unless named alike."""
    lines: int = 0
    made_up: int = 0
    runs: list[str] = field(default_factory=list)

    @property
    def name_is_ours(self) -> bool:
        """Whether no other lines can have the name: it is made of the content, or of chance."""
        made = default_name(self.file, self.sha256)
        return self.name == made or (self.typed and bool(TYPED_NAME.fullmatch(self.name)))


@dataclass(frozen=True, slots=True)
class Earlier:
    """What is on record of a batch; `whole`: all that could be sent of it was confirmed."""

    name: str
    file: str
    sha256: str
    at: datetime
    operator: str
    whole: bool
    alike: int
    """How many of the new batch's runs it has, too, and how many are kept of it."""
    runs: int


def default_name(file: str, sha256: str) -> str:
    """Return a batch's name where none was given: the same for the same file."""
    plain = "".join(one if one.isprintable() and one.isascii() else "_" for one in file)
    return f"{plain[-FILE_NAME_MAX:] or 'stdin'}:{sha256[:DIGEST_SHOWN]}"


def same_lines(batches: Sequence[Batch], *, not_a_copy: bool) -> str | None:
    """Return why batches are not to be sent together: a name twice, or copies of each other."""
    for one, other in combinations(batches, 2):
        shared, least = len({*one.runs} & {*other.runs}), min(len(one.runs), len(other.runs))
        copied = one.sha256 == other.sha256 or _alike(shared, least)
        if one.name == other.name or (copied and not not_a_copy):
            files = f"{visible(one.file) or '-'} and {visible(other.file) or '-'}"
            do = "" if one.name == other.name else " (others that look the same: --not-a-copy)"
            return f"{files} have the same lines{do}"
    return None


def objection(
    batch: Batch, earlier: Iterable[Earlier], *, again: bool, not_a_copy: bool
) -> str | None:
    """Return why a batch is not to be sent, and what to do; None if nothing is against it."""
    earlier = list(earlier)
    same = [one for one in earlier if one.name == batch.name]
    if others := [one for one in same if one.sha256 != batch.sha256]:
        return (
            f"{_said(others[0])} had other lines: give this one another name (--batch). If it is"
            f" that file corrected, send only what was never sent, as a file of its own"
        )
    if same:
        return None if again or not same[0].whole else _whole(same[0])
    if batch.typed:
        return None
    if not not_a_copy:
        copied = [one for one in earlier if one.sha256 == batch.sha256 or _is_copy(batch, one)]
        if copied:
            return _copy(copied[0], batch)
    if not batch.named and (namesakes := [one for one in earlier if one.file == batch.file != ""]):
        return (
            f"a file {visible(batch.file)} with other lines was sent as {_said(namesakes[0])}: if"
            f" these are new transactions, name them: --batch NAME"
        )
    return None


def _is_copy(batch: Batch, earlier: Earlier) -> bool:
    return _alike(earlier.alike, min(len(batch.runs), earlier.runs))


def _alike(shared: int, least: int) -> bool:
    return shared > 0 and shared * ALIKE_FROM >= least


def _whole(earlier: Earlier) -> str:
    return (
        f"{_said(earlier)} was sent and confirmed whole: nothing is left to send. The same once"
        f" more, which counts once: --again. Other transactions that look the same:"
        f" --batch NAME --not-a-copy"
    )


def _copy(earlier: Earlier, batch: Batch) -> str:
    what = "the same lines" if earlier.sha256 == batch.sha256 else "many of the same lines"
    do = f"to complete that one send it with --batch '{visible(earlier.name)}'; "
    do = do if earlier.sha256 == batch.sha256 else "send only what was never sent; "
    return f"{what} were sent as {_said(earlier)}: {do}or say that these are others: --not-a-copy"


def _said(earlier: Earlier) -> str:
    return f"batch {visible(earlier.name)} ({moment(earlier.at)}, {visible(earlier.operator)})"
